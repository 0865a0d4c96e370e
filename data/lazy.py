"""Names that a package offers and imports only when one is used, so that importing the package stays cheap."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

Modules = Mapping[str, str]  # a module -> its names that the package offers, with spaces between them


def names_of(modules: Modules) -> list[str]:
    """`__all__` of a package.

    >>> names_of({"a": "y x", "b": "z"})
    ['x', 'y', 'z']
    """
    return sorted(" ".join(modules.values()).split())


def find(package: str, modules: Modules, name: str) -> Any:
    """`__getattr__` of a package. Raises AttributeError for a name that it does not offer."""
    for module, names in modules.items():
        if name in names.split():
            return getattr(import_module(module), name)
    raise AttributeError(f"module {package!r} has no attribute {name!r}")

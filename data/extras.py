"""The optional packages of the project, by the extra of setup.cfg that installs them."""

from importlib.util import find_spec

from data.errors import InputError


def check_extra(extra: str, purpose: str, *modules: str) -> None:
    """Raises InputError with the command to type where a module is not installed; nothing is imported.

    >>> check_extra("log", "log.to", "json")
    """
    for name in modules:
        spec = find_spec(name)
        if spec is None or spec.origin is None:  # a folder of that name, which is no package
            raise InputError(f"{purpose} needs {name}, which is not installed; type: {pip_command(extra)}")


def pip_command(extra: str) -> str:
    """What installs the packages of an extra. Its quotes are those of every shell.

    >>> pip_command("demo")
    'pip install "semantic-grpo[demo]"'
    """
    return f'pip install "semantic-grpo[{extra}]"'

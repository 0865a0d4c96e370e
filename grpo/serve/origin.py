"""Who may ask a server: the names under which it is known, and the page of its own origin.

A page of another site can make a browser send requests to this machine, under a name of its own that points here (DNS
rebinding) or across origins. A browser puts the name into Host and the page's origin into Origin.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from data.errors import InputError
from grpo.serve.refusal import RequestError

LOCAL = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = ("0.0.0.0", "::")


def host_name(authority: str) -> str:
    """The name in "name:port", in lower case; "" for what is no such text.

    >>> host_name("LocalHost:8000"), host_name("[::1]:8000"), host_name("a/b")
    ('localhost', '::1', '')
    """
    try:
        parts = urlsplit(f"//{authority}")
        parts.port  # noqa: B018 - raises ValueError for a port that is none
    except ValueError:
        return ""
    return (parts.hostname or "").rstrip(".") if parts.netloc == authority and "@" not in authority else ""


def names_of(host: str, more: Collection[str]) -> frozenset[str]:
    """The names that a request may have in Host: the bound address, those of this machine and those in `more`. Raises
    InputError for one that is no name.
    """
    for name in more:
        if not name.isascii() or host_name(name if ":" not in name else f"[{name.strip('[]')}]") == "":
            raise InputError(
                f"--allow-host {name}: the name or address of a machine is needed, without a port"
            )
    return frozenset(name.strip("[]").rstrip(".").lower() for name in (host, *LOCAL, *more))


def check_host(authority: str | None, names: Collection[str], bound: str) -> None:
    """Raises RequestError where the header Host is missing or names another machine. A server at every address of its
    machine takes every address written in numbers, which no name server can point elsewhere.
    """
    name = host_name(authority or "")
    if name in names or (bound in EVERYWHERE and is_address(name)):
        return
    if not name:
        raise RequestError(400, "A request needs the header Host.", None, "invalid_host")
    raise RequestError(
        403, f"The host {name} is not served; start with --allow-host {name}.", None, "host_not_allowed"
    )


def check_origin(origin: str | None, authority: str | None) -> None:
    """Raises RequestError for a request that a page of another origin sends."""
    if origin is not None and origin.lower() != f"http://{authority or ''}".lower():
        raise RequestError(
            403, "Pages of another origin may not ask this server.", None, "origin_not_allowed"
        )


def is_address(name: str) -> bool:
    """Whether a name is an address in numbers."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

"""The right to connect, to receive and to send: nothing is in or out that is not allowed.

It knows nothing of sockets and frameworks: what a browser sent comes as texts.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from ...names import check_scope, matches
from ...protocol.security.permissions import intersection

DEFAULT_PORTS = {"http": 80, "https": 443}


def scopes(patterns: str | Iterable[str]) -> tuple[str, ...]:
    """Return one pattern or several as a tuple.

    Raises:
        InvalidName: one is malformed.
    """
    found = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    return tuple(map(check_scope, found))


@dataclass(frozen=True, slots=True)
class BrowserRights:
    """Names and patterns to which browsers may attach, in groups too, and on which they send."""

    subscribe: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def may_subscribe(self, key: str) -> bool:
        """Return whether everything that a name or pattern covers may be received."""
        return _covered(self.subscribe, key)

    def may_join(self, key: str) -> bool:
        """Return whether a browser may be a member of a group there, and so take from others."""
        return self.may_subscribe(key) and _covered(self.groups, key)

    def may_publish(self, name: str) -> bool:
        """Return whether messages and requests of a browser go on an exchange."""
        return any(matches(pattern, name) for pattern in self.publish)


def _covered(patterns: tuple[str, ...], key: str) -> bool:
    return any(intersection(pattern, key) == key for pattern in patterns)


def same_text(one: str, other: str) -> bool:
    """Return whether two texts are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(
        one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass")
    )


def origin_fault(
    origin: str | None, host: str | None, secure: bool, local: bool, listed: tuple[str, ...]
) -> str:
    """Return why a page of an origin may not connect; empty if it may.

    Args:
        origin: the header ``Origin``; None of a program that is no browser.
        host: the header ``Host``.
        secure: whether the connection is by TLS.
        local: whether it came in at an address of this host only. Then a page of a foreign name
            that its owner resolves to 127.0.0.1 is refused too, though it names itself as host.
        listed: origins that may connect as well.
    """
    if origin is None or origin in listed:
        return ""
    here = host_and_port(f"{'https' if secure else 'http'}://{host}") if host else None
    there = host_and_port(origin)
    if here is None or there is None or here != there:
        return f"the origin {origin!r} is not that of the gateway, and not listed"
    if local and not is_loopback(here[0]):
        return f"the host {here[0]!r} leads to this host only, and its origin is not listed"
    return ""


def host_and_port(url: str) -> tuple[str, int] | None:
    """Return host and port of an address; None if it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname and port else None


def is_loopback(host: str) -> bool:
    """Return whether a name or address is one of this host only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False

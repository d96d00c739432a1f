"""Endpoints as users write them and as sockets need them: parsing, pairs, loopback.

An endpoint of a node is a pair: control (ROUTER) and data (XPUB). For TCP they are on neighbouring
ports unless both are given. Nothing here opens a socket.
"""

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import InsecureEndpoint
from ...protocol.wire.messages import Address

HUB_PREFIX = "hub+"
"""The prefix of a peer's data endpoint if its data comes through a hub."""
HIDDEN = "-"
"""The suffix of a Unix socket's path while its node lets nobody connect to it."""
IPC_PATH_MAX = 107
"""The longest path of a Unix socket on Linux, in bytes (sun_path is 108 with its NUL)."""
_WILD = {"*", "0.0.0.0", "[::]", "::"}


@dataclass(frozen=True, slots=True)
class Tcp:
    """The host and port of a TCP endpoint."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return the endpoint as ZeroMQ writes it."""
        return f"tcp://{self.host}:{self.port}"

    @property
    def wild(self) -> bool:
        """Whether it stands for every address of this host."""
        return self.host in _WILD

    def at(self, host: str) -> "Tcp":
        """Return the endpoint, with ``host`` (if not empty) in place of a wildcard."""
        return Tcp(host, self.port) if self.wild and host else self

    @property
    def literal(self) -> bool:
        """Whether the host is an address, so that no look-up is needed."""
        return self.wild or _ip(self.host) is not None

    @property
    def loopback(self) -> bool:
        """Whether only this host can reach it."""
        address = _ip(self.host)
        return self.host == "localhost" if address is None else address.is_loopback


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host[1:-1] if host.startswith("[") else host)
    except ValueError:
        return None


def as_host(address: str) -> str:
    """Return an IP address as the host of an endpoint.

    IPv6 is put in brackets. An IPv4 address that a socket for both families shows as
    ``::ffff:192.0.2.1`` becomes plain IPv4.
    """
    ip = _ip(address)
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ip.ipv4_mapped) if ip.ipv4_mapped else f"[{address}]"
    return address


def parse_tcp(endpoint: str) -> Tcp:
    """Return the host and port of a TCP endpoint. An IPv6 address is written in brackets.

    Raises:
        ValueError: if it is not ``tcp://HOST:PORT``; the text says what is wrong.
    """
    scheme, _, rest = endpoint.partition("://")
    host, colon, port = rest.rpartition(":")
    number = int(port) if port.isascii() and port.isdecimal() and len(port) <= 5 else -1
    bare = ":" in host and not (host.startswith("[") and host.endswith("]"))
    # `isprintable`, because environment variables may contain bytes that are no text.
    well = scheme == "tcp" and colon and host and host.isprintable() and not bare
    if not well or not 0 <= number < 65536:
        raise ValueError(f"an endpoint is written tcp://HOST:PORT, not {endpoint!r}")
    return Tcp(host, number)


def host_of(endpoint: str) -> str:
    """Return the host of a TCP endpoint; an empty string for another kind."""
    try:
        return parse_tcp(endpoint).host
    except ValueError:
        return ""


def parse_pair(listen: str | Sequence[str]) -> tuple[Tcp, Tcp]:
    """Return the control and data endpoints that ``listen=`` or ``advertise=`` stands for.

    A single endpoint names the control port, and data is on the next port; port 0 ("choose one")
    stays 0 for both. A pair gives both.

    Raises:
        ValueError: if it is neither, or has an invalid endpoint.
    """
    if isinstance(listen, str):
        control = parse_tcp(listen)
        if control.port == 65535:
            raise ValueError(f"data goes to the port behind {listen!r}, and there is none")
        return control, Tcp(control.host, control.port + 1 if control.port else 0)
    if len(listen) != 2:
        raise ValueError(f"listen is one endpoint or a pair of them, not {listen!r}")
    return parse_tcp(listen[0]), parse_tcp(listen[1])


def check_secure(endpoints: Sequence[Tcp], insecure: bool) -> None:
    """Refuse endpoints that other hosts could reach, unless ``insecure`` is true.

    Raises:
        InsecureEndpoint: the text names the endpoint, and says what to do.
    """
    for endpoint in endpoints:
        if not (insecure or endpoint.loopback):
            raise InsecureEndpoint(
                f"{endpoint} is reachable from other hosts and traffic there is neither "
                "encrypted nor authenticated: give it keys (keys=, zexchange keygen), use a "
                "loopback address, or write insecure=True"
            )


def resolve_wild(addresses: Sequence[Address], host: str) -> tuple[Address, ...]:
    """Return addresses with wildcard hosts replaced by ``host``, from which they came.

    A node that listens on every address does not know by which of them a peer reaches it, but the
    peer does. If ``host`` is empty, wildcard addresses are left out.
    """
    resolved: list[Address] = []
    for address in addresses:
        try:
            control, data = parse_tcp(address.control), parse_tcp(address.data)
        except ValueError:
            resolved.append(address)
            continue
        if host or not (control.wild or data.wild):
            resolved.append(Address(str(control.at(host)), str(data.at(host))))
    return tuple(resolved)


def ipc_path(endpoint: str) -> str | None:
    """Return the path of an ``ipc://`` endpoint, or None if it is another kind."""
    return endpoint[6:] if endpoint.startswith("ipc://") else None


def socket_address(endpoint: str) -> tuple[int, Any] | None:
    """Return the family and address to connect to; None if that would need a look-up."""
    path = ipc_path(endpoint)
    if path is not None:
        return socket.AF_UNIX, path
    try:
        tcp = parse_tcp(endpoint)
    except ValueError:
        return None
    if tcp.host == "localhost":
        return socket.AF_INET, ("127.0.0.1", tcp.port)
    if tcp.host == "*" or not tcp.literal:
        return None
    family = socket.AF_INET6 if tcp.host.startswith("[") else socket.AF_INET
    return family, (tcp.host.strip("[]"), tcp.port)


def reachable(address: Address, ours: Callable[[str], bool]) -> bool:
    """Return whether an address could be dialled from here.

    A TCP address can be, unless it is a wildcard. Since peers may tell any path, both paths of a
    Unix address have to be ``ours``.
    """
    paths = ipc_path(address.control), ipc_path(address.data)
    if paths != (None, None):
        return all(path is not None and ours(path) for path in paths)
    try:
        return not parse_tcp(address.control).wild and not parse_tcp(address.data).wild
    except ValueError:
        return False

"""Tries an endpoint by hand, to find out why a connection to it does not come about.

ZeroMQ retries in silence. So a plain connection is made here, and a ZeroMQ peer is followed through
its introduction (ZMTP 3.1, greeting and READY). That shows whether it speaks ZeroMQ, whether it
wants keys, and which type of socket it is. No message is sent. The functions block, so the node's
own threads never call them.
"""

import errno
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from ...imports import importing
from ..transport.dns import look_up, needs_lookup
from ..transport.endpoints import HIDDEN, ipc_path, socket_address

TIMEOUT = 2.0
"""Seconds that each step may take."""
NUDGE = 0.5
_AT_A_TIME = 64
_SIGNATURE = b"\xff\0\0\0\0\0\0\0\1\x7f"
_GREETING = 64
_KINDS = {"ROUTER": "ok", "XPUB": "data port"}
_FAILED = {
    errno.EAGAIN: "mute",  # a Unix socket whose owner does not accept
    errno.ETIMEDOUT: "timeout",
    errno.ENOENT: "removed",
    errno.ECONNREFUSED: "refused",
    errno.EACCES: "forbidden",
    errno.EPERM: "forbidden",
}
"""The outcome of a try by the error that ends it; ``no route`` for any other error."""


@dataclass(frozen=True, slots=True)
class Reach:
    """The result of a try.

    Attributes:
        outcome: ``ok`` (a control socket), ``data port`` (a data socket instead), ``keys`` (it
            takes only nodes with keys), ``zmq`` (another ZeroMQ socket), ``unresolved``,
            ``no route``, ``forbidden``, ``refused``, ``timeout``, ``mute`` (connected, but the
            other side is silent), ``removed`` (the path of a Unix socket is not there), ``hidden``
            (a node on this host that lets nobody connect, for want of descriptors), ``not ours``
            (something that is not ZeroMQ).
        detail: the text of the system's error, or what the other side said.
    """

    outcome: str
    detail: str = ""


def reach_all(endpoints: Iterable[str], timeout: float = TIMEOUT) -> dict[str, Reach]:
    """Try endpoints, up to 64 at the same time; return the results by endpoint."""
    with importing():
        from concurrent.futures import ThreadPoolExecutor  # seldom needed, and slow to import

    asked = list(dict.fromkeys(endpoints))
    if not asked:
        return {}
    with ThreadPoolExecutor(min(len(asked), _AT_A_TIME)) as pool:
        reached = pool.map(partial(reach, timeout=timeout), asked)
        return dict(zip(asked, reached, strict=True))


def reach(endpoint: str, timeout: float = TIMEOUT) -> Reach:
    """Try one endpoint; ``timeout`` is in seconds, for each step."""
    path = ipc_path(endpoint)
    if path is not None and os.path.lexists(path + HIDDEN):
        return Reach("hidden")
    if needs_lookup(endpoint):
        found, why = look_up(endpoint)
        if not found:
            return Reach("unresolved", why)
        endpoint = found[0]
    target = socket_address(endpoint)
    if target is None:
        return Reach("unresolved", "it is no address")
    family, address = target
    try:
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(address)
            return _listen(connection)
    except ValueError as error:  # a path of characters that no path has
        return Reach("unresolved", str(error))
    except OSError as error:
        late = isinstance(error, TimeoutError)
        outcome = "timeout" if late else _FAILED.get(error.errno or 0, "no route")
        return Reach(outcome, error.strerror or str(error))


def _listen(connection: socket.socket) -> Reach:
    """Find out from its greeting what is at the other end of a connection."""
    try:
        # One byte more than the signature: enough for the other side to say the rest.
        connection.sendall(_SIGNATURE + b"\3")
        greeting = _read(connection, _GREETING)
        if greeting[:1] != b"\xff" or (len(greeting) > 9 and not greeting[9] & 1):
            return Reach("not ours", _printable(greeting))
        if len(greeting) < _GREETING:
            return Reach("mute", "it ended in the middle of its greeting")
        mechanism = greeting[12:32].rstrip(b"\0").decode("ascii", "replace")
        if mechanism != "NULL":
            return Reach("keys", mechanism)
        connection.sendall(b"\0" + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31))
        kind = _kind(connection)
        return Reach(_KINDS[kind]) if kind in _KINDS else Reach("zmq", kind or "of an unknown type")
    except TimeoutError:
        return _nudge(connection)
    except OSError as error:
        return Reach("mute", error.strerror or str(error))


def _nudge(connection: socket.socket) -> Reach:
    """Send an end of line: a server of a text protocol that waits for one may answer then."""
    try:
        connection.settimeout(NUDGE)
        connection.sendall(b"\r\n\r\n")
        return Reach("not ours", _printable(connection.recv(_GREETING)))
    except OSError:
        return Reach("mute", "it accepts connections and says nothing")


def _read(connection: socket.socket, size: int) -> bytes:
    """Read ``size`` bytes, or fewer if there are no more, or if they cannot be a greeting."""
    got = b""
    while len(got) < size and (chunk := connection.recv(size - len(got))):
        got += chunk
        if got[:1] != b"\xff" and size == _GREETING:
            break
    return got


def _kind(connection: socket.socket) -> str:
    """Return the type of the socket at the other end, as its READY command says."""
    head = _read(connection, 2)
    if len(head) < 2 or head[0] != 4:  # a short command
        return ""
    body = _read(connection, head[1])
    _, found, rest = body.partition(b"\x0bSocket-Type")
    size = int.from_bytes(rest[:4], "big") if found else 0
    return rest[4 : 4 + size].decode("ascii", "replace")


def _printable(text: bytes) -> str:
    line = text.split(b"\n")[0].decode("ascii", "replace").strip()
    line = line.lstrip("\ufffd")
    shown = "".join(c if c.isprintable() else "?" for c in line)[:40]
    return f"it says {shown!r}" if text else "it closes the connection at once"

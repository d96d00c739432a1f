"""Control messages (`protocol.wire`), and wildcard addresses in them (`net.transport`)."""

from collections.abc import Iterator

from zexchange.errors import DecodeError
from zexchange.net.transport.endpoints import resolve_wild
from zexchange.protocol.wire import messages as v
from zexchange.protocol.wire.control import control_frame, read_control

from ..bounds import require
from ..seeds import bombs, vectors

MAX_LEN = 600


def seeds() -> Iterator[bytes]:
    """Yield a frame of every kind, and bombs as bodies and in the places of fields."""
    yield from (frame for frame, _ in vectors("control"))
    ping = control_frame(v.Ping(bytes(16), 1, 1))
    for bomb in bombs():
        yield b"\x02" + bomb
        yield ping.replace(b"\xa5epoch\x01", b"\xa5epoch" + bomb)


def execute(data: bytes) -> None:
    """Read a frame; the message is written and read again as the same."""
    try:
        message = read_control(data)
    except DecodeError:
        return
    require(len(message.sender) == 16, message)
    require(read_control(control_frame(message)) == message, message)
    if isinstance(message, v.Hello):
        for host in (None, "10.0.0.1", "[fe80::1]"):
            require(len(resolve_wild(message.addresses, host)) <= len(message.addresses), message)

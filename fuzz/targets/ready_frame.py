"""Ready frames and tokens (`wire`)."""

from collections.abc import Iterator

from zexchange.errors import DecodeError
from zexchange.protocol.wire import data as wire

from ..bounds import require
from ..seeds import bombs, vectors

MAX_LEN = 400


def seeds() -> Iterator[bytes]:
    """Yield ready frames, tokens, and bombs where the heads stand."""
    for frame, vector in vectors("ready", "token"):
        yield frame
        if vector["kind"] == "ready":
            yield from (frame[:43] + bomb for bomb in bombs())


def execute(data: bytes) -> None:
    """Read a frame; the result is written and read again as the same."""
    token = wire.read_token(data)
    if token is not None:
        require(wire.ready_topic(*token) == data, token)
    try:
        ready = wire.read_ready(data)
    except DecodeError:
        return
    require(data.startswith(wire.ready_topic(ready.receiver, ready.epoch)), ready)
    require(wire.read_ready(wire.ready_frame(ready)) == ready, ready)

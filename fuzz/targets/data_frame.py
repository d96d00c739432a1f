"""Heads of data frames, and whether all frames of a message have come (`protocol.wire.data`)."""

from collections.abc import Iterator

from zexchange.errors import DecodeError
from zexchange.history import Bulk
from zexchange.protocol.wire import data as wire

from ..bounds import require
from ..seeds import vectors

MAX_LEN = 400


def seeds() -> Iterator[bytes]:
    """Yield data frames, the number of frames attached to each as its first byte."""
    for frame, vector in vectors("data", "parts"):
        yield bytes([len(vector.get("attached", ()))]) + frame


def execute(data: bytes) -> None:
    """Read a head; it is written and read again as the same."""
    frame = data[1:]
    try:
        batch = wire.read_data(frame)
    except DecodeError:
        return
    require(0 < batch.body <= len(frame), batch)
    require(batch.first > 0 and batch.first + batch.count <= 1 << 64, batch)
    require(0 <= batch.sent_at * 1e6 < 2**64 + 2048, batch)
    if batch.sent_at < 2**31:
        head = wire.data_head(
            wire.topic(batch.name),
            batch.origin,
            batch.first,
            batch.count,
            batch.sent_at,
            start=batch.start,
            base=batch.base,
        )
        again = wire.read_data(head)
        batch.body, batch.flags, batch.notes = again.body, again.flags, again.notes
        require(again == batch, batch)
    _whole(data)


def _whole(data: bytes) -> None:
    batch = wire.read_data(data[1:])
    buffers = tuple(b"x" * (n + data[0] % 2) for n in range(1, data[0] % 8 + 1))
    frame = Bulk(data[1:], buffers) if buffers else data[1:]
    try:
        whole = wire.arrived_whole(batch, frame)
    except DecodeError:
        return
    require(whole is True, "no last frame was empty")

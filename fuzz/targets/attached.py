"""Data frames with large parts in frames of their own (`buffers`).

Structure-aware: first byte and sizes of the attached frames, then the values.
"""

from collections.abc import Iterator

import numpy as np

from zexchange.errors import DecodeError
from zexchange.history import Bulk
from zexchange.protocol.codec import attachments as buffers
from zexchange.protocol.codec.values import encode

from ..bounds import require
from ..seeds import bombs
from .values import sent_on

MAX_LEN = 300
_SIZES = (1, 8, 16, 24)


def seeds() -> Iterator[bytes]:
    """Yield bodies that use one to four attached frames, rightly and wrongly."""
    bytes_part, array = buffers.Attached(0, 1), buffers.Attached(1, 8, ["<i2", [2, 2], 0])
    scalar = buffers.Attached(2, 16, ["<f8", [2], 2])
    for value in (
        bytes_part,
        [bytes_part, array],
        {"a": (array, bytes_part), "b": [scalar]},
        buffers.Converted("not.Known", [bytes_part, array]),
        [bytes_part, bytes_part],
        (((bytes_part,),),),
        np.zeros(3),
    ):
        body = encode(value)
        yield from (bytes([count]) + body for count in (1, 2, 3))
    yield from (b"\x02" + bomb for bomb in bombs())


def execute(data: bytes) -> None:
    """Decode one value; it is the same as one in which everything lies inside."""
    if len(data) < 2:
        return
    parts = tuple(memoryview(bytearray(_SIZES[n])) for n in range(data[0] % 4 + 1))
    frame = Bulk(data[1:], parts)
    try:
        values = buffers.decode_frame(frame, 0, 1)
    except DecodeError:
        return
    require(len(values) == 1, values)
    sent_on(values)

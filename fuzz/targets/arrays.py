"""NumPy arrays and scalars: extensions 13 and 14, the code in the first byte's last bit."""

from collections.abc import Iterator

import numpy as np

from zexchange.protocol.codec.values import encode

from .moments import framed, split
from .values import check

MAX_LEN = 160


def seeds() -> Iterator[bytes]:
    """Yield arrays and scalars of every kind of dtype."""
    structure = np.dtype([("a", "<i4"), (("title", "b"), "<f8", (2,))], align=True)
    for value in (
        np.array([[1, 2, 3], [4, 5, 6]], dtype="<i2"),
        np.asfortranarray(np.ones((2, 2), dtype=">f4")),
        np.array([], dtype="<M8[ns]"),
        np.array(["ab", "c"], dtype="<U3"),
        np.zeros(2, dtype=structure),
        np.zeros(1, dtype=np.longdouble),
        np.array([b"12345"], dtype="|V5"),
        np.float16(1.5),
        np.str_("a\0"),
        np.bytes_(b"a\0"),
        np.timedelta64(5, "25s"),
        np.zeros(1, dtype=structure)[0],
    ):
        code, payload = split(encode(value))
        yield bytes([code - 13]) + payload


def execute(data: bytes) -> None:
    """Decode one; see `values`."""
    if data:
        check(framed(13 + data[0] % 2, data[1:]))

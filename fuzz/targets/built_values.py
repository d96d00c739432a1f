"""Values that a program may send, built from the bytes: they arrive as they were sent.

Structure-aware: the bytes choose types and sizes, so that deep and mixed values come up
that no mutation of encoded ones would hit. The last byte damages one byte of the result.
"""

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import islice
from operator import length_hint
from typing import Any
from uuid import UUID

from zexchange.protocol.codec.values import Unknown, decode, encode

from ..bounds import require
from ..sameness import same
from .values import check

MAX_LEN = 40
_LEAVES = (None, True, "", b"", 0.0, -0.0, float("nan"), 2**64, Decimal("NaN"), UUID(int=7), 1j)
_DEEPEST = 12


def seeds() -> Iterator[bytes]:
    """Yield choices that come by every type."""
    yield bytes(range(60))
    yield bytes(range(60, 0, -1))
    for kind in range(16):
        yield bytes([kind, 3, kind, 2, 40, 41, 42, 43])


class Choices:
    """Takes one byte after the other; 0 when there is none left."""

    def __init__(self, data: bytes) -> None:
        self._bytes = iter(data)
        self.take: Callable[[], int] = partial(next, self._bytes, 0)
        """Returns the next byte."""

    @property
    def left(self) -> int:
        """How many bytes have not been taken."""
        return length_hint(self._bytes)

    def some(self, number: int) -> bytes:
        """Return the next bytes, as many as are left of ``number``."""
        return bytes(islice(self._bytes, number))


def build(choices: Choices, depth: int = 0, hashable: bool = False) -> Any:
    """Return a value made of choices."""
    kind = choices.take() % 20
    if depth >= _DEEPEST or kind >= 11:
        return _leaf(choices, kind)
    size = choices.take() % 5
    if kind in (0, 1, 2) or hashable:
        return tuple(build(choices, depth + 1, hashable) for _ in range(size))
    if kind in (3, 4):
        return [build(choices, depth + 1) for _ in range(size)]
    if kind in (5, 6, 7):
        pairs = [(build(choices, depth + 1, True), build(choices, depth + 1)) for _ in range(size)]
        return dict(pairs)
    return (set, frozenset)[kind % 2](build(choices, depth + 1, True) for _ in range(size))


def _leaf(choices: Choices, kind: int) -> Any:
    number = choices.take()
    match kind:
        case 11:
            return (number - 128) << (choices.take() % 90)
        case 12:
            return "aé\U0001f600"[: number % 4] * choices.take()
        case 13:
            return bytes(number)
        case 14:
            return timedelta(number - 128, choices.take())
        case 15:
            return date.fromordinal(1 + number * choices.take() * 50)
        case 16:
            return datetime(1 + number, 2, 3, 4, choices.take() % 60)
        case 17:
            return Unknown(16 + number % 112, bytes(choices.take()))
        case 18:
            return Unknown("a.B", encode(number))
        case _:
            return _LEAVES[number % len(_LEAVES)]


def execute(data: bytes) -> None:
    """Send a value, and the same with a byte damaged."""
    choices = Choices(data)
    value = build(choices)
    body = encode(value)
    require(same(decode(body), value), value)
    damaged = bytearray(body)
    damaged[choices.take() % len(body)] ^= 1 + choices.take() % 255
    check(bytes(damaged))

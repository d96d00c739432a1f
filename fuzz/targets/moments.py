"""Dates, times, spans and zones: extensions 9 to 12, the code in the first byte."""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

from zexchange.protocol.codec.values import encode

from .values import check

MAX_LEN = 120
_ZONE = ZoneInfo("Europe/Berlin")


def framed(code: int, payload: bytes) -> bytes:
    """Return an extension value."""
    return b"\xc9" + len(payload).to_bytes(4, "big") + bytes([code]) + payload


def seeds() -> Iterator[bytes]:
    """Yield the payloads of moments of every kind."""
    for value in (
        date(2024, 2, 29),
        time(23, 59, 58, 999_999),
        time(1, 2, tzinfo=_ZONE),
        datetime(1, 1, 1, tzinfo=_ZONE),
        datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=_ZONE),
        datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-23, minutes=-59), "x")),
        datetime(2024, 2, 29, 12, 0),
        timedelta(-999_999_999, 86_399, 999_999),
    ):
        code, payload = split(encode(value))
        yield bytes([code - 9]) + payload


def split(body: bytes) -> tuple[int, bytes]:
    """Return code and payload of an encoded extension value."""
    at = {0xC7: 2, 0xC8: 3, 0xC9: 5}.get(body[0], 1)
    return body[at], body[at + 1 :]


def execute(data: bytes) -> None:
    """Decode one; see `values`."""
    if data:
        check(framed(9 + data[0] % 4, data[1:]))

"""Log records of other processes (`contrib.records`), as `ExchangeListener` takes them."""

import logging
from collections.abc import Iterator, Mapping

from zexchange.contrib.records import ARRIVED, fields_of, record_of
from zexchange.errors import DecodeError
from zexchange.protocol.codec.values import decode, encode

from ..bounds import require
from ..seeds import bombs

MAX_LEN = 600
_FORMATTER = logging.Formatter(
    "%(asctime)s %(levelname)-8s %(name)s %(process)s %(threadName)s %(message)s %(created)f"
)
_LONGER = 40
"""How much longer a line may be than the fields that it shows, as a multiple of the input."""


def seeds() -> Iterator[bytes]:
    """Yield records of several kinds, and such as ask for much or hide something."""
    record = logging.LogRecord("shop", logging.WARNING, "shop.py", 7, "%s left", ("one",), None)
    fields = fields_of(record, "host:1")
    fields.pop("taskName", None)  # which earlier Pythons have not
    fields |= {"created": 1.5e9, "msecs": 0.0, "relativeCreated": 1.0, "process": 1, "thread": 2}
    yield encode(fields)
    yield encode({**fields, "customer": {"id": [1, 2.5, None]}, "exc_text": "Traceback"})
    for name, value in (
        ("msg", "%500000000d"),
        ("args", (1,)),
        ("getMessage", 1),
        ("levelno", 1 << 70),
        ("created", -1.0),
        ("created", float("nan")),
        ("msecs", float("inf")),
        ("__class__", "x"),
        ("exc_info", True),
    ):
        yield encode({**fields, name: value})
    yield from bombs()


def execute(data: bytes) -> None:
    """Make a record of it, if it is one, and a line of that; nothing may come of it but text."""
    try:
        fields = decode(data)
        record = record_of(fields)
    except (DecodeError, ValueError):
        return
    assert isinstance(fields, Mapping)
    require(getattr(record, ARRIVED) is True, record)
    require(record.getMessage() == fields["msg"], record)
    line = _FORMATTER.format(record)
    require(len(line) <= 400 + _LONGER * len(data), len(line))

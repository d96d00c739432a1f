"""Conversion of log records to dicts of plain values, and back, with checks of what arrives.

The text of a record is formatted before it is sent. The receiver never applies a format to
arguments, since a format of ten characters can produce a line of half a gigabyte.
"""

import logging
import uuid
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from ..kinds import is_mapping

ARRIVED = "zexchange_arrived"
"""The attribute that marks a record as coming from another process."""
PROCESS = "zexchange_process"
"""The field with the id of the process that logged a record."""
_PLAIN = (
    *(type(None), bool, int, float, complex, Decimal, str, bytes, uuid.UUID),
    *(date, time, datetime, timedelta),
)
_DEEPEST = 16
_tracebacks = logging.Formatter()
_FIELDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("name", "msg", "levelname", "pathname", "filename", "module"), (str,)),
    **dict.fromkeys(
        ("funcName", "processName", "threadName", "taskName", "exc_text", "stack_info"),
        (str, type(None)),
    ),
    **dict.fromkeys(("levelno", "lineno"), (int,)),
    **dict.fromkeys(("process", "thread"), (int, type(None))),
    **dict.fromkeys(("created", "msecs", "relativeCreated"), (int, float)),
    **dict.fromkeys(("args", "exc_info"), (type(None),)),
}
"""The standard attributes of a record, and the types that the receiver accepts for each."""
_LARGEST = 1 << 64
_YEAR_10000 = 253_402_300_800
_NEEDED = frozenset({"name", "msg", "levelno", "levelname", "created"})


def fields_of(record: logging.LogRecord, process: str) -> dict[str, Any]:
    """Return the attributes of a record in a form that can be sent.

    The message is formatted, and a traceback becomes text, as a formatter would show it. A value of
    ``extra=`` that is not plain, such as a request, is replaced by its text.

    Args:
        record: the record, which is not changed.
        process: the id of this process.

    Raises:
        Exception: any exception that formatting the message raises.
    """
    text, own = record.getMessage(), {"args": None, "exc_info": None, PROCESS: process}
    fields: dict[str, Any] = {}
    for name, value in {**record.__dict__, **own, "msg": text}.items():
        kinds = _FIELDS.get(name)
        if kinds is None:
            fields[name] = value if _is_plain(value) else _text(value)
        elif (field := _as_one_of(kinds, value)) is not _NONE:
            fields[name] = field
    if record.exc_info and not record.exc_text:
        fields["exc_text"] = _tracebacks.formatException(record.exc_info)
    return fields


_NONE = object()


def _as_one_of(kinds: tuple[type, ...], value: object) -> object:
    """Return the value of a standard attribute as one of ``kinds``; `_NONE` if it cannot be.

    Its value may be of another class: a level may be an `IntEnum`, a text one that Django marks
    as safe, a path a `Path`.
    """
    if type(value) in kinds:
        return value
    if str in kinds and value is not None:
        return _text(value)
    numbers: tuple[type, ...] = (int, float)
    for kind in numbers:
        if kind in kinds and isinstance(value, kind):
            return kind(value)
    return _NONE


def _text(value: object) -> str:
    """Return the text of a value; it does not raise, or the record would be lost."""
    try:
        # `str` of an instance of a subclass of str may be of that subclass again.
        return str.__str__(str(value))
    except Exception as error:
        return f"<{type(value).__name__}, whose text raises {type(error).__name__}>"


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Return whether a value consists only of types that arrive unchanged."""
    known: object = value
    kind = type(known)
    if kind in _PLAIN:
        return True
    if depth > _DEEPEST:
        return False
    if kind is dict:
        return all(_is_plain(k, depth + 1) and _is_plain(v, depth + 1) for k, v in value.items())
    return kind in (list, tuple, set, frozenset) and all(_is_plain(v, depth + 1) for v in value)


def record_of(fields: object) -> logging.LogRecord:
    """Return the log record for received fields, marked with `ARRIVED`.

    Raises:
        ValueError: the fields are not a valid record; the text says what is wrong.
    """
    if not is_mapping(fields) or not all(type(name) is str for name in fields):
        raise ValueError("a record is a map of names to values")
    if missing := _NEEDED - fields.keys():
        raise ValueError(f"a record without {', '.join(sorted(missing))}")
    for name, kinds in _FIELDS.items():
        if name in fields and type(fields[name]) not in kinds:
            raise ValueError(f"a record whose {name} is a {type(fields[name]).__name__}")
        # Larger numbers have no date, or take long to format.
        if type(fields.get(name)) in (int, float) and not abs(fields[name]) < _LARGEST:
            raise ValueError(f"a record whose {name} is out of range")
    if not 0 <= fields["created"] < _YEAR_10000:
        raise ValueError("a record of no moment")
    # An attribute that hides a method would make handlers fail.
    hidden = [name for name in fields if hasattr(logging.LogRecord, name)]
    if hidden:
        raise ValueError(f"a record with an attribute {hidden[0][:40]!r}")
    return logging.makeLogRecord({**fields, ARRIVED: True})

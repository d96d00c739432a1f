"""How a message becomes a line of output: text as it is, everything else as JSON.

Every value that can travel has a line, and no value makes a command fail. Pure; it must
not know where messages come from or lines go.
"""

import base64
import json
import math
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from datetime import time as clock
from typing import Any

from zexchange import Delivery, Unknown

_dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
MAX_BITS = 10_000
"""Python refuses to write larger numbers in decimal (`sys.set_int_max_str_digits`)."""
_PLAIN = (str, int, type(None))  # bool is an int


def as_text(delivery: Delivery) -> bytes:
    """Return a message as a line: str and bytes as they are, anything else as JSON."""
    return _text(delivery.msg) + b"\n"


def named_text(delivery: Delivery) -> bytes:
    """Return the exchange's name, a tab, and the message."""
    return _bytes(delivery.name) + b"\t" + _text(delivery.msg) + b"\n"


def as_json(delivery: Delivery) -> bytes:
    """Return a message as a line of JSON."""
    return to_json(delivery.msg) + b"\n"


def named_json(delivery: Delivery) -> bytes:
    """Return name and message as a line of JSON, an object."""
    return to_json({"name": delivery.name, "message": delivery.msg}) + b"\n"


def _text(msg: object) -> bytes:
    if isinstance(msg, str):
        return _bytes(msg)
    return bytes(msg) if isinstance(msg, bytes | bytearray) else to_json(msg)


def _bytes(text: str) -> bytes:
    # A lone surrogate has no UTF-8; three bytes that say which it was are better than none.
    return text.encode("utf-8", "surrogatepass")


def to_json(value: object) -> bytes:
    """Return any value as JSON in UTF-8, on one line.

    Tuples and sets become arrays, moments ISO 8601, a timedelta its seconds, bytes
    ``{"base64": ...}``,
    a Decimal or UUID its text, what is not finite null, an int beyond
    `MAX_BITS` its hexadecimal text.
    """
    plain = simplify(value)
    try:
        return _dumps(plain).encode()
    except UnicodeEncodeError:
        return json.dumps(plain).encode()  # lone surrogates, as \udXXX


def simplify(value: Any) -> Any:
    """Return ``value`` in the terms of JSON: str, numbers, bool, None, list, dict."""
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        return hex(value)
    if type(value) in _PLAIN or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return _object(value)
    if isinstance(value, list | tuple):
        return [simplify(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((simplify(item) for item in value), key=_dumps)
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, datetime | date | clock):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, complex):
        return [simplify(value.real), simplify(value.imag)]
    if isinstance(value, Unknown):
        return {"unknown": value.code, **_scalar(value.data)}
    if hasattr(value, "tolist"):  # NumPy's, without importing it
        return _array(value)
    return str(value)


def _array(value: Any) -> Any:
    """Return a NumPy array or scalar as lists of plain values."""
    plain = value.tolist()
    # What has no plain form, such as a datetime64 in nanoseconds, lists as itself.
    return str(value) if type(plain) is type(value) else simplify(plain)


def _object(value: Mapping[Any, Any]) -> Any:
    """Return a dict as an object; as pairs if two keys would become the same text."""
    pairs = [(_key(key), simplify(item)) for key, item in value.items()]
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    return [[simplify(key), simplify(item)] for key, item in value.items()]


def _key(key: object) -> str:
    return key if type(key) is str else to_json(key).decode()

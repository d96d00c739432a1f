"""Conversion of a message to a line of output: text unchanged, everything else as JSON.

Every value that can be sent has a line, and no value makes a command fail. Text from elsewhere
passes through `printable` before it is shown in a table or on a terminal, where it could move the
cursor or look like another row. The functions are pure.
"""

import base64
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from datetime import time as clock
from itertools import islice
from typing import Any

from zexchange import Delivery, Unknown
from zexchange.kinds import is_buffer, is_mapping

_dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
MAX_BITS = 10_000
"""The largest integers shown in decimal, in bits. Python refuses to write those of more than some
14,000 bits (`sys.set_int_max_str_digits`)."""
MAX_DEPTH = 100
"""How deeply nested lists and dicts are shown; Python's JSON encoder fails at some hundreds."""
MAX_EMPTY = 1000
"""How many values of an array are shown if they are more than its bytes. An array without items
may have any shape, and become any number of empty lists."""
_PLAIN = (str, int, type(None))  # bool is an int
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters, line separators, controls of text direction, lone surrogates."""


def printable(text: str, keep: str = "") -> str:
    r"""Return text with each character that is not shown as itself escaped, as in ``\x1b``.

    Args:
        text: any text, from any source.
        keep: characters that are not escaped.
    """

    def shown(found: re.Match[str]) -> str:
        return found[0] if found[0] in keep else found[0].encode("unicode_escape").decode()

    return _UNSEEN.sub(shown, text)


def on_terminal(show: Callable[[Delivery], bytes]) -> Callable[[Delivery], bytes]:
    """Return ``show`` for a terminal: its output has no control sequences from messages."""

    def escaped(delivery: Delivery) -> bytes:
        line = show(delivery)[:-1].decode("utf-8", "backslashreplace")
        return printable(line, keep="\t\n").encode() + b"\n"

    return escaped


def as_text(delivery: Delivery) -> bytes:
    """Return a message as a line: str and bytes unchanged, anything else as JSON."""
    return _text(delivery.msg) + b"\n"


def named_text(delivery: Delivery) -> bytes:
    """Return a line with the exchange's name, a tab, and the message."""
    return _bytes(printable(delivery.name)) + b"\t" + _text(delivery.msg) + b"\n"


def as_json(delivery: Delivery) -> bytes:
    """Return a message as a line of JSON."""
    return to_json(delivery.msg) + b"\n"


def named_json(delivery: Delivery) -> bytes:
    """Return a line with a JSON object of name and message."""
    return to_json({"name": delivery.name, "message": delivery.msg}) + b"\n"


def with_headers(show: Callable[[Delivery], bytes]) -> Callable[[Delivery], bytes]:
    """Return ``show`` with the headers of the message before it: as JSON, and a tab."""
    return lambda delivery: to_json(dict(delivery.headers)) + b"\t" + show(delivery)


def headers_json(delivery: Delivery) -> bytes:
    """Return a line with a JSON object of name, headers, redelivery and message."""
    told = {
        "name": delivery.name,
        "headers": dict(delivery.headers),
        "redelivered": delivery.redelivered,
        "message": delivery.msg,
    }
    return to_json(told) + b"\n"


def _text(msg: object) -> bytes:
    if isinstance(msg, str):
        return _bytes(msg)
    return bytes(msg) if isinstance(msg, bytes | bytearray) else to_json(msg)


def _bytes(text: str) -> bytes:
    # UTF-8 has no form for a lone surrogate; "surrogatepass" writes three bytes for it.
    return text.encode("utf-8", "surrogatepass")


def to_json(value: object) -> bytes:
    """Return any value as JSON in UTF-8, on one line.

    - Tuples and sets become arrays, and complex numbers arrays of two numbers.
    - Dates and times become ISO 8601, and a timedelta its seconds.
    - Bytes become ``{"base64": ...}``.
    - A Decimal or UUID becomes its text, and an int of more than `MAX_BITS` its hexadecimal text.
    - NaN and infinity become null.
    - Containers deeper than `MAX_DEPTH` become ``{"nested": "too deeply"}``.
    - An array of NumPy becomes nested lists. One that would become too many lists, though it has
      few or no bytes, becomes its shape and dtype.
    - A value of an extension type unknown here becomes its code and its data.
    """
    plain = simplify(value)
    try:
        return _dumps(plain).encode()
    except UnicodeEncodeError:
        return json.dumps(plain).encode()  # lone surrogates, as \udXXX


def simplify(value: Any, depth: int = 0) -> Any:
    """Return ``value`` as types that JSON has: str, numbers, bool, None, list, dict.

    Args:
        value: anything that can be sent.
        depth: how many lists and dicts contain it.
    """
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        return hex(value)
    if type(value) in _PLAIN or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _container(value, depth + 1) if depth < MAX_DEPTH else {"nested": "too deeply"}
    return _scalar(value, depth)


def _container(value: Any, depth: int) -> Any:
    if is_mapping(value):
        return _object(value, depth)
    plain = [simplify(item, depth) for item in value]
    return plain if isinstance(value, list | tuple) else sorted(plain, key=_dumps)


def _scalar(value: Any, depth: int) -> Any:
    if is_buffer(value):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, datetime | date | clock):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, complex):
        return [simplify(value.real), simplify(value.imag)]
    if isinstance(value, Unknown):
        return {"unknown": value.code, **_scalar(value.data, depth)}
    if hasattr(value, "tolist"):  # recognizes NumPy's types without importing it
        return _array(value, depth)
    return str(value)


def _array(value: Any, depth: int) -> Any:
    """Return a NumPy array or scalar as lists of plain values."""
    # An array of no bytes can stand for any number of empty lists or overlapping fields.
    most = math.prod(extent or 1 for extent in value.shape) * _leaves(value.dtype)
    if most > max(MAX_EMPTY, value.nbytes):
        return {"shape": list(value.shape), "dtype": printable(str(value.dtype))}
    plain = value.tolist()
    # A value without a plain form, such as a datetime64 in nanoseconds, is returned unchanged.
    return str(value) if type(plain) is type(value) else simplify(plain, depth)


def _leaves(dtype: Any) -> int:
    """Return as how many values an item of an array is shown, at most."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return int(math.prod(extent or 1 for extent in shape)) * _leaves(base)
    return sum(_leaves(dtype.fields[name][0]) for name in dtype.names or ()) or 1


def _object(value: Mapping[Any, Any], depth: int) -> Any:
    """Return a dict as an object, or as pairs if two keys would have the same text."""
    pairs = [(_key(key), simplify(item, depth)) for key, item in value.items()]
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    # Items are not simplified again: otherwise the time would double with each nested level.
    shown = (item for _, item in pairs)
    return [[simplify(key, depth), item] for key, item in zip(value, shown, strict=True)]


def _key(key: object) -> str:
    return key if type(key) is str else to_json(key).decode()


# ------------------------------------------------------------------------------- excerpts

EXCERPT_ITEMS = 200
"""Values of a message that an excerpt has at most, at all depths together."""
EXCERPT_BYTES = 32
"""Bytes of a message of bytes that are shown."""
EXCERPT_TEXT = 300
"""Characters of an excerpt."""


def excerpt(value: object) -> str:
    """Return the beginning of a message as one line that is safe to show, of a bounded length.

    Its cost is bounded too, however large the message is: only its first values are looked at.
    """
    few = beginning(value, [EXCERPT_ITEMS])
    if is_buffer(value):
        size = memoryview(value).nbytes
        text = f"{size} bytes: {bytes(few[:EXCERPT_BYTES]).hex(' ') if is_buffer(few) else ''}"
        text += " …" if size > EXCERPT_BYTES else ""
    else:
        text = few if isinstance(few, str) else to_json(few).decode()
    text = printable(text)
    return text if len(text) <= EXCERPT_TEXT else text[: EXCERPT_TEXT - 1] + "…"


def beginning(value: Any, left: list[int], depth: int = 0) -> Any:
    """Return a value with its first items only.

    Args:
        value: anything that can be sent.
        left: a list of how many more values there may be; it is counted down.
        depth: how many containers it is in; of what is nested deeper than a few, nothing is shown.
    """
    left[0] -= 1
    if isinstance(value, str):
        return value[:EXCERPT_TEXT]
    if is_buffer(value):
        return bytes(memoryview(value).cast("B")[: EXCERPT_TEXT // 3])
    whole: Any = value
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        if depth >= 8:
            return "…"
        if is_mapping(whole):
            items = islice(whole.items(), max(0, left[0]))
            return {
                _key(beginning(key, left, depth + 1)): beginning(item, left, depth + 1)
                for key, item in items
                if left[0] > 0
            }
        return [
            beginning(item, left, depth + 1)
            for item in islice(whole, max(0, left[0]))
            if left[0] > 0
        ]
    if isinstance(value, Unknown):
        return Unknown(value.code, value.data[: EXCERPT_TEXT // 3])
    if hasattr(value, "tolist") and value.nbytes > 8 * EXCERPT_ITEMS:  # an array of NumPy
        return {"shape": list(value.shape), "dtype": str(value.dtype)}
    return value

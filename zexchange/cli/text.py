"""How a message becomes a line of output: text as it is, everything else as JSON.

Every value that can travel has a line, and no value makes a command fail. Text that comes from
elsewhere goes through `printable` before it stands in a table or on a terminal, where it could
move the cursor or look like a row of ours. Pure; it must not know where messages come from or
lines go.
"""

import base64
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from datetime import time as clock
from typing import Any

from zexchange import Delivery, Unknown
from zexchange.kinds import is_buffer, is_mapping

_dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
MAX_BITS = 10_000
"""Python refuses to write larger numbers in decimal (`sys.set_int_max_str_digits`)."""
MAX_DEPTH = 100
"""Lists and maps within each other that are shown; Python's JSON writer ends at some hundreds."""
MAX_EMPTY = 1000
"""Lists that are shown of an array without items: its shape may ask for any number of them."""
_PLAIN = (str, int, type(None))  # bool is an int
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters, line separators, what turns the direction of text, lone surrogates."""


def printable(text: str, keep: str = "") -> str:
    r"""Return text with each character that is not shown as itself escaped, as ``\x1b``.

    Args:
        text: what may come from anywhere.
        keep: characters that stay nevertheless.
    """

    def shown(found: re.Match[str]) -> str:
        return found[0] if found[0] in keep else found[0].encode("unicode_escape").decode()

    return _UNSEEN.sub(shown, text)


def on_terminal(show: Callable[[Delivery], bytes]) -> Callable[[Delivery], bytes]:
    """Return ``show`` for a terminal, which must not take orders from messages."""

    def escaped(delivery: Delivery) -> bytes:
        line = show(delivery)[:-1].decode("utf-8", "backslashreplace")
        return printable(line, keep="\t\n").encode() + b"\n"

    return escaped


def as_text(delivery: Delivery) -> bytes:
    """Return a message as a line: str and bytes as they are, anything else as JSON."""
    return _text(delivery.msg) + b"\n"


def named_text(delivery: Delivery) -> bytes:
    """Return the exchange's name, a tab, and the message."""
    return _bytes(printable(delivery.name)) + b"\t" + _text(delivery.msg) + b"\n"


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
    `MAX_BITS` its hexadecimal text. What lies deeper than `MAX_DEPTH` and the lists of an array
    without items are named instead of shown.
    """
    plain = simplify(value)
    try:
        return _dumps(plain).encode()
    except UnicodeEncodeError:
        return json.dumps(plain).encode()  # lone surrogates, as \udXXX


def simplify(value: Any, depth: int = 0) -> Any:
    """Return ``value`` in the terms of JSON: str, numbers, bool, None, list, dict.

    Args:
        value: anything that can travel.
        depth: how many lists and maps it lies in.
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
    if hasattr(value, "tolist"):  # NumPy's, without importing it
        return _array(value, depth)
    return str(value)


def _array(value: Any, depth: int) -> Any:
    """Return a NumPy array or scalar as lists of plain values."""
    # Empty lists, and fields that lie on top of each other, can be any number in no bytes.
    most = math.prod(extent or 1 for extent in value.shape) * _leaves(value.dtype)
    if most > max(MAX_EMPTY, value.nbytes):
        return {"shape": list(value.shape), "dtype": printable(str(value.dtype))}
    plain = value.tolist()
    # What has no plain form, such as a datetime64 in nanoseconds, lists as itself.
    return str(value) if type(plain) is type(value) else simplify(plain, depth)


def _leaves(dtype: Any) -> int:
    """Return how many values an item of an array is shown as, at most."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return int(math.prod(extent or 1 for extent in shape)) * _leaves(base)
    return sum(_leaves(dtype.fields[name][0]) for name in dtype.names or ()) or 1


def _object(value: Mapping[Any, Any], depth: int) -> Any:
    """Return a dict as an object; as pairs if two keys would become the same text."""
    pairs = [(_key(key), simplify(item, depth)) for key, item in value.items()]
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    # Items are not looked at again: in a nest each level would take twice as long as the next.
    shown = (item for _, item in pairs)
    return [[simplify(key, depth), item] for key, item in zip(value, shown, strict=True)]


def _key(key: object) -> str:
    return key if type(key) is str else to_json(key).decode()


_FLAGS = {
    r"insecure=True": "--insecure",
    r"\bkeys=": "--keys DIR",
    r"\b(listen|advertise|hub)=": r"--\1",
    r"\bpeers=": "--peer",
}


def as_flags(text: str) -> str:
    """Return the text of an error of `federate` in the words of the command line."""
    for argument, flag in _FLAGS.items():
        text = re.sub(argument, flag, text)
    return text

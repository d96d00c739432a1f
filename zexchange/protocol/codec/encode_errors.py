"""Finds the place inside a message at which the part lies that cannot be encoded.

The rule of this module: it runs only after encoding has failed, may be slow, and never raises
itself. It does not know how values are encoded: it tries them, one part at a time.
"""

from collections.abc import Callable, Iterator
from reprlib import Repr
from typing import Any

from zexchange.errors import EncodeError
from zexchange.protocol.codec.custom_types import registered_type

_DEEPEST = 1000
_LONGEST_PATH = 200
_LONGEST_REASON = 300

_short = Repr()
_short.maxstring = _short.maxother = 60

Probe = Callable[[object], object]
Step = tuple[str, Any]


def explain(msg: object, error: Exception, probe: Probe) -> EncodeError | None:
    """Return the error to raise for a message whose encoding raised `error`.

    None if nothing is wrong with the message: then not the encoding has raised, but a signal
    handler that ran meanwhile.

    Args:
        msg: The whole message.
        error: The error that encoding it raised.
        probe: Encodes a part of the message, or raises.
    """
    try:
        found = _find(msg, probe)
        if found is None and _try(probe, msg) is None:
            return None
    except Exception:  # another thread changes the message meanwhile, or the stack is full
        found = None
    path, reason = found or ("msg", _reason(msg, error))
    return EncodeError(f"{_shorten(path)}: {reason}")


def brief(error: BaseException) -> str:
    """Return an error's type and text, cut to a line's length."""
    return f"{type(error).__name__}: {error}"[:_LONGEST_REASON]


def _find(msg: object, probe: Probe) -> tuple[str, str] | None:
    trail: list[Iterator[Step]] = [iter((("msg", msg),))]
    while trail:
        step = next(trail[-1], None)
        if step is None:
            trail.pop()
            continue
        path, part = step
        inside = _inside(path, part)
        if inside is not None and len(trail) < _DEEPEST:
            trail.append(inside)
        elif inside is not None:
            return path, "nested too deeply"
        elif (failure := _try(probe, part)) is not None:
            return path, _reason(part, failure)
    return None


def _try(probe: Probe, part: object) -> Exception | None:
    try:
        probe(part)
    except Exception as error:
        return error
    return None


def _inside(path: str, part: Any) -> Iterator[Step] | None:
    known: object = part
    kind = type(known)
    if kind is list or kind is tuple:
        return ((f"{path}[{index}]", item) for index, item in enumerate(part))
    if kind is dict:
        return _entries(path, part)
    if kind is set or kind is frozenset:
        return ((f"{path}<member {_short.repr(item)}>", item) for item in part)
    entry = registered_type(kind)
    if entry is None:
        return None
    try:
        return iter(((f"{path}<as {entry.name}>", entry.encode(part)),))
    except Exception:
        return None


def _entries(path: str, part: dict[Any, Any]) -> Iterator[Step]:
    for key, value in tuple(part.items()):
        yield f"{path}<key {_short.repr(key)}>", key
        yield f"{path}[{_quoted(key)}]", value


def _quoted(key: object) -> str:
    text = _short.repr(key)
    return '"' + text[1:-1].replace('"', '\\"') + '"' if type(key) is str else text


def _reason(part: object, error: Exception) -> str:
    if isinstance(error, EncodeError):
        return str(error)
    if isinstance(error, UnicodeEncodeError):
        return f"a str with a lone surrogate at index {error.start} cannot be sent as UTF-8"
    if isinstance(error, RecursionError) or "recursion limit" in str(error):
        return "nested too deeply, or inside itself"
    return f"cannot encode {type(part).__qualname__}: {brief(error)}"


def _shorten(path: str) -> str:
    half = _LONGEST_PATH // 2
    return path if len(path) <= _LONGEST_PATH else f"{path[:half]} ... {path[-half:]}"

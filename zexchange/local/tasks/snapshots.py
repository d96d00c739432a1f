"""Copies of messages, for tasks that keep them after `send` has returned.

A producer may fill its buffer again then. Nothing here knows who keeps a message.
"""

import array
import sys
from collections.abc import Callable
from typing import Any

UNCHANGING = frozenset({str, bytes, int, float, bool, type(None), dict, list, tuple})
"""Types that `settled` returns unchanged. Nearly all messages have one of them, so fast paths look
here first."""
TYPES_MOST = 1000
_CASTS = frozenset("cbB?hHiIlLqQnNefd")
_copies: dict[type, Callable[[Any], Any] | None] = {}


class Keeper:
    """Marks tasks that keep messages after `send` has returned.

    An exchange gives them messages of this process by ``keep``, which copies buffers. Messages from
    another process come by ``send``: nobody else can change those.
    """

    __slots__ = ()

    keep: Callable[[Any], object]


def settled(msg: object) -> Any:
    """Return a copy of a mutable buffer, and any other object as it is.

    A buffer is a `bytearray`, a `memoryview`, an `array.array` or a NumPy array. Lists and dicts
    are not copied, and neither are buffers inside them.
    """
    kind = type(msg)
    try:
        copy = _copies[kind]
    except KeyError:
        if len(_copies) >= TYPES_MOST:
            _copies.clear()
        copy = _copies[kind] = _copy_of(kind)
    return msg if copy is None else copy(msg)


def _copy_of(kind: type) -> Callable[[Any], Any] | None:
    """Return a function that copies a buffer of this type, None if the type is no buffer."""
    if issubclass(kind, bytearray | array.array):
        return lambda msg: msg[:]
    if kind is memoryview:
        return _view
    arrays = getattr(sys.modules.get("numpy"), "ndarray", None)
    if arrays is not None and issubclass(kind, arrays):
        return lambda msg: msg.copy()
    return None


def snapshot(msg: Any) -> Any:
    """Return ``msg`` with copies of all buffers, lists, dicts and sets in it."""
    return _copied(msg, {})


def _view(view: memoryview) -> memoryview:
    """Return a view of a copy, with the same access, and if possible the same format and shape."""
    raw = view.tobytes()
    copied = memoryview(raw if view.readonly else bytearray(raw))
    if view.format not in _CASTS or view.ndim != 1 or not raw:
        return copied
    return copied.cast(view.format)  # type: ignore[call-overload,no-any-return]


def _copied(msg: Any, made: dict[int, Any]) -> Any:
    """Return a copy; ``made`` has the copies of objects that were met before, by identity."""
    known: object = msg
    kind: Any = type(known)
    if kind not in _CONTAINERS:
        return msg if kind in UNCHANGING else settled(msg)
    if id(msg) not in made:
        if kind is tuple:  # it can contain itself only inside a list or a dict
            items = [_copied(item, made) for item in msg]
            same = all(new is old for new, old in zip(items, msg, strict=True))
            made[id(msg)] = msg if same else tuple(items)
        elif kind is set:
            made[id(msg)] = msg.copy()
        elif kind is list:
            copied = made[id(msg)] = list[Any]()
            copied += [_copied(item, made) for item in msg]
        else:
            fields = made[id(msg)] = dict[Any, Any]()
            fields.update({key: _copied(value, made) for key, value in msg.items()})
    return made[id(msg)]


_CONTAINERS = frozenset({list, dict, set, tuple})

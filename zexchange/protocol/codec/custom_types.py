"""The types that a program has taught zexchange to send.

The rule of this module: a name travels, and not a class, and data that is received can run code
only through this table. It knows nothing of MessagePack.
"""

from collections.abc import Callable
from dataclasses import dataclass
from threading import RLock
from typing import Any, TypeVar

from ...sendable import full_name, sendable

T = TypeVar("T")

MAX_NAME = 255
"""The longest registered name, in UTF-8 bytes."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value of a type that this process does not know.

    It can be sent on. A process that knows the type receives the original value.

    Attributes:
        code: The registered name, or the number of a MessagePack extension type.
        data: The MessagePack value that the type's encode function returned, or the payload of the
            extension.
    """

    code: int | str
    data: bytes


@dataclass(frozen=True, slots=True)
class Registration:
    """One entry of the table."""

    name: str
    type: type
    encode: Callable[[Any], object]
    decode: Callable[[Any], object]


_by_type: dict[type, Registration] = {}
_by_name: dict[str, Registration] = {}
_already: set[type] = {bool, bytearray, bytes, dict, float, list, memoryview, str, type(None)}
_changing = RLock()
sendable.update(_already)


def register(
    type: type[T],
    encode: Callable[[T], object],
    decode: Callable[[Any], T],
    *,
    name: str | None = None,
) -> None:
    """Teach zexchange to send values of exactly this type; subclasses are not included.

    Register the same name in every process that should understand it; elsewhere the value arrives
    as `Unknown`. Any thread may call this. A type or name that is registered again replaces the
    entry before, so that a module can be reloaded.

    Args:
        type: The class.
        encode: Turns a value into one that can be sent (plain types, other registered ones). Called
            in the thread that sends.
        decode: Turns that back into a value. Called in the thread that receives, and up to three
            times for a large message that has dicts with keys other than str.
        name: The name that travels, at most 255 UTF-8 bytes; by default the class's module and
            qualified name, which changes when the class is moved.

    Raises:
        ValueError: The name is empty, too long, or taken by another class; or the type can be sent
            without being registered.
    """
    if type in _already:
        raise ValueError(f"{full_name(type)} already travels as it is")
    entry = Registration(_checked(full_name(type) if name is None else name), type, encode, decode)
    with _changing:
        _refuse_clash(entry)
        previous = (_by_type.get(type), _by_name.get(entry.name))
        for old in filter(None, previous):
            _by_name.pop(old.name, None)
            _by_type.pop(old.type, None)
            sendable.discard(old.type)
        _by_type[type] = _by_name[entry.name] = entry
        sendable.add(type)


def already_travels(*types: type) -> None:
    """Refuse to register these types from now on: the codec has its own way to send them."""
    _already.update(types)
    sendable.update(types)


def registered_type(type: type) -> Registration | None:
    """Return the entry for exactly this type."""
    return _by_type.get(type)


def registered_name(name: str) -> Registration | None:
    """Return the entry whose values travel under this name."""
    return _by_name.get(name)


def _checked(name: str) -> str:
    if not 0 < len(name.encode()) <= MAX_NAME:
        raise ValueError(f"a registered name has 1 to {MAX_NAME} UTF-8 bytes: {name[:60]!r}")
    return name


def _refuse_clash(entry: Registration) -> None:
    taken = _by_name.get(entry.name)
    if taken is not None and full_name(taken.type) != full_name(entry.type):
        raise ValueError(f"the name {entry.name!r} is taken by {full_name(taken.type)}")

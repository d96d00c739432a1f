"""Readers of the fields of a frame: they unpack MessagePack, and check each part for its type.

For any bytes that arrive, the only error raised here is `DecodeError`. Nothing here knows which
message a field belongs to.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import msgpack

from ...collisions import dict_of
from ...errors import DecodeError, InvalidName
from ...kinds import is_dict, is_list
from ...names import check_key, is_name
from .limits import check_announced

K = TypeVar("K")
V = TypeVar("V")

ID_BYTES = 16
MAX_CONTAINERS = 200_000
"""Lists and maps in one frame: each takes a byte there, and up to a hundred in memory."""
_SMALL = 1024  # fewer bytes cannot unpack to much
KEY_BYTES = 32
_YEAR_10000 = 253_402_300_800
_LONGEST_ERROR = 512


def unpack(data: bytes) -> Any:
    """Return the only MessagePack value in some bytes."""
    try:
        return msgpack.unpackb(data, strict_map_key=False, **_bounded(data))
    except Exception as error:
        # msgpack raises ValueError, its own kinds, and TypeError for unhashable keys.
        raise DecodeError(f"malformed MessagePack: {type(error).__name__}: {error}") from None


def unpack_all(data: bytes) -> list[Any]:
    """Return the MessagePack values, at least one, that stand back to back in some bytes."""
    try:
        most = max(len(data), 1)
        unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=most, **_bounded(data))
        unpacker.feed(data)
        values = list(unpacker)
        whole = unpacker.tell() == len(data)
    except Exception as error:
        raise DecodeError(f"malformed MessagePack: {type(error).__name__}: {error}") from None
    if not values or not whole:
        raise DecodeError("malformed MessagePack: it ends too early")
    return values


def _bounded(data: bytes) -> dict[str, Any]:
    """Return arguments for unpacking that bound the memory a large frame takes.

    Raises:
        ValueError: it announces far more than it has, or is no MessagePack.
    """
    if len(data) <= _SMALL:
        return {}
    check_announced(data)
    left = MAX_CONTAINERS

    def counted(container: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise DecodeError(f"more than {MAX_CONTAINERS} lists and maps")
        return container

    # Fields that are not known here are skipped, but built first: their keys may collide.
    hooks: dict[str, Callable[[Any], Any]] = {
        "list_hook": counted,
        "object_pairs_hook": lambda pairs: dict_of(counted(pairs)),
    }
    return hooks


def _is(kind: type, what: str) -> Callable[[Any], Any]:
    """Return a check that a field is of a type; bool does not pass for int."""

    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise DecodeError(f"{what} must be {kind.__name__}, not {type(value).__name__}")
        return value

    return check


text = _is(str, "a text")
octets = _is(bytes, "what is no text")
items = _is(list, "a list")
boolean = _is(bool, "a flag")


def federation(value: Any) -> str:
    """Return a value if it is a federation's name; a node that asks for another one is told it."""
    if not is_name(text(value)):
        raise DecodeError("a federation's name has 1 to 255 bytes of UTF-8, none of them 0")
    return str(value)


def count(value: Any) -> int:
    """Return a value if it is an unsigned 64-bit integer."""
    if type(value) is not int or not 0 <= value < 1 << 64:
        raise DecodeError(f"a count must be an unsigned 64-bit integer, not {_brief(value)}")
    return value


def _brief(value: Any) -> str:
    # Only numbers are shown: a nested value may be too deep or too long to be turned into text.
    return str(value) if type(value) in (int, float) else type(value).__name__


def seconds(value: Any) -> float:
    """Return a value if it is a moment, in seconds since the Unix epoch."""
    if type(value) not in (int, float) or not 0 <= value < _YEAR_10000:
        raise DecodeError(f"a moment must be seconds since the epoch, not {_brief(value)}")
    return float(value)


def node_id(value: Any) -> bytes:
    """Return a value if it is a node id."""
    if type(value) is not bytes or len(value) != ID_BYTES:
        raise DecodeError(f"a node id has {ID_BYTES} bytes")
    return value


def public_key(value: Any) -> bytes:
    """Return a value if it is a public key."""
    if type(value) is not bytes or len(value) != KEY_BYTES:
        raise DecodeError(f"a public key has {KEY_BYTES} bytes")
    return value


def key(value: Any) -> str:
    """Return a value if it is a name or a pattern."""
    # A short text without a star is a name, as nearly all of them are.
    if type(value) is not str or not 0 < len(value) < 64 or "*" in value or "\0" in value:
        try:
            check_key(text(value))
        except InvalidName as error:
            raise DecodeError(str(error)[:_LONGEST_ERROR]) from None
    return str(value)


def each(read: Callable[[Any], V]) -> Callable[[Any], tuple[V, ...]]:
    """Return a reader of a list, given the reader of an item."""
    return lambda value: tuple(map(read, items(value)))


def up_to(most: int, what: str, read: Callable[[Any], V]) -> Callable[[Any], V]:
    """Return a reader of a list or map of so many items at most, given its reader."""

    def bounded(value: Any) -> V:
        if (is_list(value) or is_dict(value)) and len(value) > most:
            raise DecodeError(f"{len(value)} {what}, of {most} at most")
        return read(value)

    return bounded


def row(*reads: Callable[[Any], Any], into: Callable[..., Any] | None = None) -> Any:
    """Return a reader of the first items of a list, one reader for each; further items are skipped.

    The results are passed to ``into``; without it, they make a tuple.
    """

    def read(value: Any) -> Any:
        if len(items(value)) < len(reads):
            raise DecodeError(f"{len(reads)} items expected")
        found = [read(item) for read, item in zip(reads, value, strict=False)]
        return tuple(found) if into is None else into(*found)

    return read


def mapping(
    read_key: Callable[[Any], K], read_value: Callable[[Any], V]
) -> Callable[[Any], dict[K, V]]:
    """Return a reader of a map, given the readers of its keys and its values."""

    def read(value: Any) -> dict[K, V]:
        if not is_dict(value):
            raise DecodeError(f"a map expected, not {type(value).__name__}")
        return {read_key(key): read_value(item) for key, item in value.items()}

    return read


texts: Callable[[Any], tuple[str, ...]] = each(text)
numbers: Callable[[Any], dict[str, int]] = mapping(text, count)

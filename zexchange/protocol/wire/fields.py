"""What fields of a frame may be: MessagePack opened, and each part checked for its type.

Whatever arrives, the only error out of here is `DecodeError`. Nothing here knows which
message a field belongs to.
"""

from collections.abc import Callable
from typing import Any

import msgpack

from ...collisions import dict_of
from ...errors import DecodeError
from ...kinds import is_dict
from ...names import is_name
from .limits import check_announced

ID_BYTES = 16
MAX_CONTAINERS = 200_000
"""Lists and maps in one frame: one takes a byte there, and up to a hundred in memory."""
_SMALL = 1024  # in fewer bytes no bomb is large
KEY_BYTES = 32
_YEAR_10000 = 253_402_300_800


def unpack(data: bytes) -> Any:
    """Return the one MessagePack value in some bytes."""
    try:
        return msgpack.unpackb(data, strict_map_key=False, **_bounded(data))
    except Exception as error:
        # msgpack raises ValueError, its own kinds, and TypeError for unhashable keys.
        raise DecodeError(f"malformed MessagePack: {type(error).__name__}: {error}") from None


def unpack_all(data: bytes) -> list[Any]:
    """Return the MessagePack values, one at least, that stand back to back in some bytes."""
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
    """Return what has a large frame unpacked in bounded memory.

    Raises:
        ValueError: it announces far more than it has, or is nothing that is packed.
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

    # What is not known here is skipped, whatever its keys are: but first it is built.
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
items = _is(list, "a list")


def boolean(value: Any) -> bool:
    """Return a value that must be true or false."""
    if type(value) is not bool:
        raise DecodeError(f"a flag must be true or false, not {type(value).__name__}")
    return value


def federation(value: Any) -> str:
    """Return a value that is the name of a federation; it is repeated to who asks for another."""
    if not is_name(text(value)):
        raise DecodeError("a federation's name has 1 to 255 bytes of UTF-8, none of them 0")
    return str(value)


def count(value: Any) -> int:
    """Return a value that is an unsigned 64-bit integer."""
    if type(value) is not int or not 0 <= value < 1 << 64:
        raise DecodeError(f"a count must be an unsigned 64-bit integer, not {_brief(value)}")
    return value


def _brief(value: Any) -> str:
    # Of numbers alone: the text of a nest may be too deep to be made, or too long.
    return str(value) if type(value) in (int, float) else type(value).__name__


def seconds(value: Any) -> float:
    """Return a value that is a moment in seconds since the Unix epoch."""
    if type(value) not in (int, float) or not 0 <= value < _YEAR_10000:
        raise DecodeError(f"a moment must be seconds since the epoch, not {_brief(value)}")
    return float(value)


def node_id(value: Any) -> bytes:
    """Return a value that is a node id."""
    if type(value) is not bytes or len(value) != ID_BYTES:
        raise DecodeError(f"a node id has {ID_BYTES} bytes")
    return value


def public_key(value: Any) -> bytes:
    """Return a value that is a public key."""
    if type(value) is not bytes or len(value) != KEY_BYTES:
        raise DecodeError(f"a public key has {KEY_BYTES} bytes")
    return value


def texts(value: Any) -> tuple[str, ...]:
    """Return a value that is a list of texts."""
    return tuple(text(item) for item in items(value))


def numbers(value: Any) -> dict[str, int]:
    """Return a value that is a map of names to counts."""
    if not is_dict(value):
        raise DecodeError("numbers by name must be a map")
    return {text(name): count(number) for name, number in value.items()}


def field(body: dict[Any, Any], key: str) -> Any:
    """Return a field that must be there."""
    if key not in body:
        raise DecodeError(f"control message without {key!r}")
    return body[key]

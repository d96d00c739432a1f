"""Python values to MessagePack and back, without losing their types.

The rule of this module: `encode` raises `EncodeError`, which names the place inside the message;
decoding raises `DecodeError` and nothing else; and every message that can be encoded can be
decoded. It must not know of frames, exchanges or sockets. The extension types are in `extensions`.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from msgpack import ExtType, OutOfData, Packer, StackError, Unpacker, unpackb

from zexchange.collisions import FEW, dict_of
from zexchange.errors import DecodeError, EncodeError
from zexchange.kinds import is_dict
from zexchange.protocol.codec.custom_types import Unknown, register
from zexchange.protocol.codec.encode_errors import brief, explain
from zexchange.protocol.codec.extensions import Nest, from_ext, to_ext
from zexchange.protocol.wire.limits import check_announced

__all__ = ["MAX_NESTED_EXTENSIONS", "Unknown", "decode", "decode_batch", "encode", "register"]

MAX_NESTED_EXTENSIONS = 32
"""How deep extension values (tuples, sets, ...) may be nested, for senders and receivers."""
TOO_DEEP = f"more than {MAX_NESTED_EXTENSIONS} extension values nested"

# msgpack allows 511 (1.1) or 1024 (1.2) lists and dicts within each other per packer, and every
# nested extension starts a new packer. At about 300 bytes of C stack a level, 32 * 1024 levels
# overflow an 8 MiB stack, so only the outer extensions may contain lists nested that deep.
_FREE_EXTENSIONS = 2
_INNER_DEPTH = 32

_IDLE_PACKERS = 32
KEPT_BUFFER = 64 << 10
"""A packer never shrinks its buffer: one that has packed so many bytes is not used again."""
DEEP_BODY = 1022
"""A value of no more bytes cannot be nested too deeply to be unpacked."""
_LEAF_HEADERS = frozenset(range(0xA0, 0xDC))  # str, bin, ext, and numbers but the smallest

AS_DATETIME = 3
"""An argument of `unpackb`: MessagePack's own extension, a timestamp, becomes a datetime."""

SMALL_BODY = 1024
"""A body of no more bytes can neither announce so much nor have so many keys that it has to be
checked first."""


def encode(msg: object) -> bytes:
    """Encode one message.

    Any thread may call this, also while another call is under way in the same thread (a signal
    handler, a registered encode function).

    Args:
        msg: A value of the supported types, nested in any way. `bytearray` and `memoryview`
            are accepted too, and arrive as `bytes`.

    Raises:
        EncodeError: Something inside cannot be encoded; the text names where and why.
    """
    try:
        return TOP.pack(msg)
    except Exception as error:
        explained = explained_error(msg, error)
        if explained is None:
            raise
        raise explained from error


def explained_error(msg: object, error: Exception) -> EncodeError | None:
    """Return the error that says where in a message the part lies that could not be packed.

    None if nothing is wrong with the message: then a signal handler has raised.
    """
    return explain(msg, error, TOP.pack)


def decode(body: bytes | memoryview) -> object:
    """Decode exactly one value.

    Raises:
        DecodeError: `body` is anything but one well-formed value.
    """
    try:
        return TOP.unpack(body)
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(f"not one MessagePack value: {brief(error)}") from error


def decode_batch(
    body: bytes | memoryview, count: int, nest: Nest | None = None, start: int = 0
) -> list[object]:
    """Decode exactly `count` values that lie back to back in `body`.

    Args:
        body: the values.
        count: how many.
        nest: unpacks the values, if some of their parts are in other frames.
        start: where in `body` they begin.

    Raises:
        DecodeError: `body` holds fewer or more values, or something malformed.
    """
    if not 0 <= count <= len(body) - start:
        raise DecodeError(f"{count} values cannot lie in {len(body) - start} bytes")
    # An array header in front lets the C code build the whole list in one call; a loop over an
    # Unpacker costs a call per value and copies the body as well.
    values = memoryview(body)[start:] if start else body
    packed = b"".join(((0xDD00000000 | count).to_bytes(5, "big"), values))
    try:
        # Like `NestedCodec.unpack`, but written out: it saves one call for every frame.
        if nest is not None or len(packed) > SMALL_BODY:
            unpacked: list[object] = (nest or TOP).unpack(packed)
        else:
            unpacked = _unpack_top(packed)
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(f"not {count} MessagePack values: {brief(error)}") from error
    return unpacked


class NestedCodec(Nest):
    """Packs and unpacks the contents of a given number of nested extension values.

    A packer is neither thread-safe nor re-entrant. Its `default` runs Python code, during which
    another thread or a signal handler may encode as well. So each call takes a packer of its own
    out of a pool (`deque` needs no lock), and a packer that has failed is not put back.
    """

    __slots__ = ("_deeper", "_depth", "idle", "touched", "unpack_careful", "unpack_small")

    def __init__(self, depth: int = 0) -> None:
        self._depth = depth
        self._deeper = NestedCodec(depth + 1) if depth <= MAX_NESTED_EXTENSIONS else self
        self.idle: deque[Callable[[object], bytes]] = deque(maxlen=_IDLE_PACKERS)
        """The `pack` of packers that are not in use: take one, and put it back after a success."""
        self.touched = object()
        """Replaced by another object whenever a Python function has packed a value."""
        self.unpack_small = self._unpacking()
        """Returns the one value of a small body, which cannot announce too much."""
        self.unpack_careful = self._unpacking(object_pairs_hook=dict_of)
        """Returns the one value of a larger body, whose dicts may have keys that were made to
        collide."""

    def _unpacking(self, **how: Any) -> Callable[[bytes | memoryview], Any]:
        how = {"strict_map_key": False, **how}
        return partial(unpackb, ext_hook=self._from_ext, timestamp=AS_DATETIME, **how)

    def pack(self, value: object) -> bytes:
        """Return `value` as MessagePack; errors do not name the place in the message yet."""
        if self._depth > _FREE_EXTENSIONS:
            if self._depth > MAX_NESTED_EXTENSIONS:
                raise EncodeError(TOO_DEEP)
            if _deeper_than(value, _INNER_DEPTH):
                raise EncodeError(f"more than {_INNER_DEPTH} lists and dicts within each other")
        try:
            pack = self.idle.pop()
        except IndexError:
            pack = self.new_packer()
        touched = self.touched
        body = pack(value)
        if len(body) > DEEP_BODY or touched is not self.touched:
            check_whole(body)
        if len(body) < KEPT_BUFFER:
            self.idle.append(pack)
        return body

    def unpack(self, body: bytes | memoryview) -> Any:
        """Return the one value in `body`."""
        if self._depth > MAX_NESTED_EXTENSIONS:
            raise DecodeError(TOO_DEEP)
        if len(body) <= SMALL_BODY:
            return self.unpack_small(body)
        check_announced(body)
        return self.unpack_careful(body)

    def new_packer(self) -> Callable[[object], bytes]:
        """Return the `pack` of a new packer, which nobody else uses."""
        # strict_types: otherwise msgpack silently flattens IntEnum, namedtuples and np.float64.
        pack: Callable[[object], bytes] = Packer(strict_types=True, default=self._to_ext).pack
        return pack

    def _to_ext(self, value: object) -> ExtType:
        # A new object each time, and not a counter: if two threads count at once, the counter may
        # end at the number that a third thread remembers.
        self.touched = object()
        return to_ext(value, self._deeper)

    def _from_ext(self, code: int, data: bytes) -> object:
        return from_ext(code, data, self._deeper)


class _Top(NestedCodec):
    """Packs and unpacks whole messages.

    The check for keys that collide costs time. So a large body is unpacked without it if all keys
    of its dicts are str or bytes, or if no dict has more than `FEW` keys. Both are tried out:
    unpacking fails if they do not hold, and the third attempt makes the check. Only the top level
    unpacks again: if each of 32 nested levels did, it would take years.
    """

    __slots__ = ("_unpack_few_keys", "_unpack_texts")

    def __init__(self) -> None:
        super().__init__()
        self._unpack_texts = self._unpacking(strict_map_key=True)
        self._unpack_few_keys = self._unpacking(max_map_len=FEW)

    def unpack(self, body: bytes | memoryview) -> Any:
        """Return the one value in `body`."""
        if len(body) <= SMALL_BODY:
            return self.unpack_small(body)
        check_announced(body)
        for unpack in (self._unpack_texts, self._unpack_few_keys):
            try:
                return unpack(body)
            except DecodeError:
                raise
            except ValueError:  # raised by msgpack: a key is no str, or a dict has many keys
                continue
        return self.unpack_careful(body)


def _deeper_than(value: object, limit: int) -> bool:
    layer: list[Any] = [value]
    for _ in range(limit + 1):
        layer = [part for part in layer if type(part) in (list, dict)]
        if not layer:
            return False
        layer = [inner for p in layer for inner in (p.values() if is_dict(p) else p)]
    return True


def check_whole(body: bytes) -> None:
    """Raise `EncodeError` if a packed message could not be unpacked.

    To be called with more than `DEEP_BODY` bytes, and where `NestedCodec.touched` has changed.
    """
    # A list is packed as its length, then its items. When an item needs `default`, Python code
    # runs in between, and another thread may change the list meanwhile. Then the length is wrong,
    # and a receiver would misread the message and everything after it in the frame. Also, msgpack
    # 1.2 packs 1024 nested lists and a few more, but does not unpack them in a batch's array.
    # The scan builds nothing; it takes a quarter to a half of the time of packing.
    if body[0] in _LEAF_HEADERS:
        return
    scan = Unpacker(max_buffer_size=len(body) + 1, read_size=len(body) + 1)
    scan.feed(b"\x91")
    scan.feed(body)
    try:
        scan.skip()
    except StackError:
        raise EncodeError("nested too deeply")
    except OutOfData:
        raise EncodeError("a list changed while it was being encoded")
    if scan.tell() != len(body) + 1:
        raise EncodeError("a list changed while it was being encoded")


TOP = _Top()
"""Packs and unpacks messages."""
_unpack_top = TOP.unpack_small

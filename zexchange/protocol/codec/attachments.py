"""Messages with large parts: these parts travel in frames of their own, and are not packed.

To pack a large array or bytes object is to copy it. So a part of `LARGE` bytes or more is taken out
of the message: a copy of the message has an `Attached` in its place, with its index and size, and
the part goes as a ZeroMQ frame of its own after the packed message. Immutable bytes are not copied
at all. A part that could be changed after `send` is copied once.

To look for large parts costs time, too, so the sender guesses. An `Encoder` first packs a message
as any other. Only if the result is large does it encode the message again with its large parts
attached. If there were some, it looks through the next messages before it packs them, until
`_SMALL` messages in a row had none. If there were none, it leaves the next `_IN_VAIN` large
messages alone.

The receiver unpacks the values with a `_Reader`, which takes each frame once, and at its announced
size. An array is made over its frame, without a copy. A value of a type that is not registered here
stays packed, as `Unknown`; its parts are put back into it, so that it can be sent on.

The rule of this module: attaching only ever gains. A part that is not attached is packed like any
other, and if something fails, the message is encoded without attachments, by `values`, whose error
says where in the message it failed. Small messages never come here. It must not know of sockets.
"""

from collections.abc import Callable, Iterable
from operator import is_
from typing import Any

from msgpack import ExtType, packb, unpackb

from zexchange.collisions import dict_of
from zexchange.errors import DecodeError, EncodeError
from zexchange.history import Body, Buffer, Bulk
from zexchange.protocol.codec import ndarrays
from zexchange.protocol.codec.custom_types import Unknown, registered_type
from zexchange.protocol.codec.extensions import (
    ARRAY,
    ATTACHED,
    FROZENSET,
    REGISTERED,
    SET,
    TUPLE,
    Nest,
    from_ext,
    plain_form,
    split_named,
    write_named,
)
from zexchange.protocol.codec.placeholders import Attached, Converted, read_attached
from zexchange.protocol.codec.values import (
    AS_DATETIME,
    MAX_NESTED_EXTENSIONS,
    SMALL_BODY,
    TOO_DEEP,
    decode_batch,
    encode,
)
from zexchange.protocol.wire.data import MAX_ATTACHED
from zexchange.protocol.wire.limits import check_announced

LARGE = 64 << 10
"""Bytes from which on a part travels in a frame of its own."""
_IN_VAIN = 16
"""Large messages that are packed as any other, after one in which nothing could be attached."""
_SMALL = 16
"""Messages in a row with nothing to attach, after which the next ones are packed as any other."""
_LEAVES = frozenset((str, int, float, bool, type(None)))


class Encoder:
    """Encodes the messages of one exchange, and seldom has to encode one twice.

    Any thread may use it: it remembers only a guess about the next message.
    """

    __slots__ = ("_fruitless", "attaching")

    def __init__(self) -> None:
        self.attaching = False
        """Whether messages are looked through before they are packed."""
        self._fruitless = 0

    def encode(self, msg: object) -> Body:
        """Encode one message; pass the result to `large` if it has `LARGE` bytes or more."""
        return self._attach_first(msg) if self.attaching else encode(msg)

    def large(self, msg: object, body: Body) -> Body:
        """Return the body of a message that has turned out large, with its large parts attached."""
        if isinstance(body, Bulk) or self.attaching:
            return body
        if self._fruitless:
            self._fruitless -= 1
            return body
        body = encode_attaching(msg)
        if isinstance(body, Bulk):
            self.attaching = True
        else:
            self._fruitless = _IN_VAIN
        return body

    def _attach_first(self, msg: object) -> Body:
        body = encode_attaching(msg)
        if isinstance(body, Bulk):
            self._fruitless = 0
        else:
            self._fruitless += 1
            if self._fruitless >= _SMALL:
                self.attaching, self._fruitless = False, 0
        return body


def encode_attaching(msg: object) -> Body:
    """Encode one message, with its large parts attached.

    Raises:
        EncodeError: as `values.encode`.
    """
    parts = _Parts()
    try:
        found = parts.without(msg)
        packed = encode(found)
    except Exception as error:
        # Encoded once more as it was given: an error is to name the place in that message.
        body = encode(msg)
        if isinstance(error, EncodeError | RecursionError):
            return body
        raise  # nothing is wrong with the message: a signal handler raised
    return Bulk(packed, tuple(parts.buffers)) if parts.buffers else packed


def decode_frame(frame: Body, start: int, count: int) -> list[object]:
    """Decode the values of a data frame, which begin at ``start`` in its first ZeroMQ frame.

    Raises:
        DecodeError: there are not ``count`` of them, they are malformed, or they do not fit the
            attached frames.
    """
    if isinstance(frame, bytes):
        return decode_batch(frame, count, None, start)
    buffers: list[Buffer | None] = list(frame.buffers)
    values = decode_batch(frame.packed, count, _Reader(buffers, 0), start)
    if any(buffer is not None for buffer in buffers):
        raise DecodeError("a frame more than there are values that stand for one")
    return values


class _Parts:
    """Takes the large parts out of one message."""

    def __init__(self) -> None:
        self.buffers: list[Buffer] = []

    def without(self, value: object) -> object:
        """Return the value, or a copy of it in which placeholders stand for the large parts."""
        kind = type(value)
        if kind in _LEAVES:
            return value
        take = _TAKE.get(kind)
        return take(self, value) if take is not None else self._other(value)

    def _attach(self, value: object, buffer: Buffer, layout: list[object] | None = None) -> object:
        if len(self.buffers) >= MAX_ATTACHED:
            return value
        self.buffers.append(buffer)
        return Attached(len(self.buffers) - 1, len(buffer), layout)

    def _bytes(self, value: bytes | bytearray) -> object:
        return self._attach(value, bytes(value)) if len(value) >= LARGE else value

    def _view(self, value: memoryview) -> object:
        if value.nbytes < LARGE or not value.c_contiguous:
            return value
        frozen = type(value.obj) is bytes
        return self._attach(value, memoryview(value).cast("B") if frozen else value.tobytes())

    def _items(self, value: list[object] | tuple[object, ...]) -> object:
        if _LEAVES.issuperset(map(type, value)):
            return value
        found = [self.without(item) for item in value]
        return value if _same(found, value) else type(value)(found)

    def _dict(self, value: dict[object, object]) -> object:
        if _LEAVES.issuperset(map(type, value.values())):
            return value
        items = list(value.items())
        found = [self.without(item) for _, item in items]
        if _same(found, (item for _, item in items)):
            return value
        return {key: item for (key, _), item in zip(items, found, strict=True)}

    def _other(self, value: Any) -> object:
        if ndarrays.is_array(value):
            if value.nbytes < LARGE or len(self.buffers) >= MAX_ATTACHED:
                return value
            *layout, items = ndarrays.array_fields(value) or [b""]
            return self._attach(value, items, layout)  # type: ignore[arg-type]
        known: object = value
        entry = registered_type(type(known))
        if entry is None:
            return value
        return Converted(entry.name, self.without(plain_form(value)))


_TAKE: dict[type, Callable[[_Parts, Any], object]] = {
    bytes: _Parts._bytes,
    bytearray: _Parts._bytes,
    memoryview: _Parts._view,
    list: _Parts._items,
    tuple: _Parts._items,
    dict: _Parts._dict,
}


def _same(found: list[object], items: Iterable[object]) -> bool:
    return all(map(is_, found, items))


class _Reader(Nest):
    """Unpacks the contents of ``depth`` nested extension values, and takes the attached frames."""

    __slots__ = ("_buffers", "_depth")

    def __init__(self, buffers: list[Buffer | None], depth: int) -> None:
        self._buffers = buffers
        self._depth = depth

    def unpack(self, body: bytes | memoryview) -> Any:
        return self._unpack(body, self._from_ext, AS_DATETIME)

    def attached(self, data: bytes) -> object:
        """Return the value of an attached frame; each frame is taken once."""
        packed, buffer = self._take(data)
        if not packed:
            return bytes(buffer)
        view = memoryview(buffer)
        array = ndarrays.to_array([*self.unpack(packed), view])
        return Unknown(ARRAY, self._array(packed, view)) if array is NotImplemented else array

    def whole(self, body: bytes) -> bytes:
        """Return a value that nobody here can read, with its attached parts inside.

        So it holds no reference to a frame.
        """
        before = self._buffers.count(None)
        value = self._unpack(body, self._whole_ext)
        if self._buffers.count(None) == before:
            return body  # as it came
        packed: bytes = packb(value)
        return packed

    def _unpack(
        self, body: bytes | memoryview, ext_hook: Callable[[int, bytes], object], timestamp: int = 0
    ) -> Any:
        if self._depth > MAX_NESTED_EXTENSIONS:
            raise DecodeError(TOO_DEEP)
        if len(body) > SMALL_BODY:
            check_announced(body)
        return unpackb(
            body,
            ext_hook=ext_hook,
            object_pairs_hook=dict_of,
            strict_map_key=False,
            timestamp=timestamp,
        )

    def _deeper(self) -> "_Reader":
        return _Reader(self._buffers, self._depth + 1)

    def _from_ext(self, code: int, data: bytes) -> object:
        return from_ext(code, data, self._deeper())

    def _whole_ext(self, code: int, data: bytes) -> object:
        if code == ATTACHED:
            packed, buffer = self._take(data)
            if not packed:
                return bytes(buffer)
            return ExtType(ARRAY, self._deeper()._array(packed, buffer))
        if code in (TUPLE, SET, FROZENSET):
            return ExtType(code, self._deeper().whole(data))
        if code == REGISTERED:
            name, body = split_named(data)
            return ExtType(code, write_named(name, self._deeper().whole(body)))
        return ExtType(code, data)

    def _array(self, packed: bytes, buffer: Buffer) -> bytes:
        """Return the payload of an array, with its items inside."""
        fields: bytes = packb([*self._unpack(packed, ExtType), bytes(buffer)])
        return fields

    def _take(self, data: bytes) -> tuple[bytes, Buffer]:
        """Return the layout (empty for bytes) and the frame for which a placeholder stands."""
        index, size, packed = read_attached(data)
        buffer = self._buffers[index] if index < len(self._buffers) else None
        if buffer is None or len(buffer) != size:
            raise DecodeError(f"no frame of {size} bytes at {index}, or it is used twice")
        self._buffers[index] = None
        return packed, buffer

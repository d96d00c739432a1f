"""The MessagePack extension types: what plain MessagePack cannot say.

The rule of this module: each payload is MessagePack or fixed bytes, so that any language can read
it, or skip it by its length. It must not know of batches and frames. All integers
are signed and big-endian where they are not MessagePack integers.

==== ============== =========================================================================
code type           payload
==== ============== =========================================================================
1    registered     the name: byte d9 (MessagePack str 8), its length in bytes, UTF-8 text;
                    then one MessagePack value, which the type's own decode function reads
2    tuple          array of the items
3    set            array of the members, in no particular order
4    frozenset      array of the members, in no particular order
5    integer        outside -2**63 to 2**64-1: two's complement, big-endian
6    complex        real and imaginary part, two big-endian IEEE 754 binary64
7    decimal        ASCII text as in the General Decimal Arithmetic specification:
                    ``-12.50``, ``1E+400``, ``-0``, ``Infinity``, ``NaN``, ``sNaN12``
8    UUID           its 16 bytes, in RFC 9562 order
9    date           array: year (1 to 9999), month, day
10   time           array: hour, minute, second, microsecond, fold, then a zone (below)
11   datetime       array: year, month, day, hour, minute, second, microsecond, fold, zone
12   timedelta      array: days, seconds (0 to 86399), microseconds (0 to 999999)
13   NumPy array    array: dtype, shape (array of integers), flags, items (bin). Flags: 1 items
                    are in Fortran (first index fastest) order, else C order; 2 read-only
14   NumPy scalar   array: dtype, value: bin with the item's bytes; a str where dtype is ``U``,
                    a bin of any length where it is ``S``
15   attached       stands for what came in a frame of its own: its index (4 bytes, from 0) and
                    length (4 bytes). Bytes, if nothing follows; else the items of a NumPy
                    array: MessagePack array of dtype, shape and flags, as in 13
==== ============== =========================================================================

A *zone* is nothing (a naive value), or the further array elements

- ``offset``: east of UTC, in microseconds;
- ``offset, name``: the same with a name of its own;
- ``offset, name, key``: a zone of the IANA database by its key (``Europe/Berlin``), with the
  offset and abbreviation in force at that moment, nil where a bare time of day has none. Who
  does not know the key takes the offset. ``fold`` 1 is the second of two equal local times.

A *dtype* is a str, or an array ``base, shape`` (a subarray), or a map (a structure) with
``names``, ``formats`` (dtypes), ``offsets``, ``itemsize`` (in bytes), ``aligned``, and where any
field has one ``titles`` (str or nil). The str is NumPy's array-interface type string, byte order
included: ``<f8``, ``>i4``, ``|b1``, ``<M8[ns]``, ``<U12`` (UTF-32). Formats wider than binary64
differ between machines and carry their count of mantissa bits: ``<f16/63``.

Codes 0 and 16 to 127 are free. What is not in the table arrives as `Unknown`.
"""

import struct
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Context, Decimal, InvalidOperation
from functools import partial
from typing import Any
from uuid import UUID

from msgpack import ExtType

from zexchange.collisions import set_of
from zexchange.errors import DecodeError, EncodeError
from zexchange.protocol.codec import datetimes, ndarrays
from zexchange.protocol.codec.custom_types import (
    Unknown,
    already_travels,
    registered_name,
    registered_type,
)
from zexchange.protocol.codec.encode_errors import brief
from zexchange.protocol.codec.placeholders import Attached, Converted, write_attached
from zexchange.sendable import full_name

REGISTERED, TUPLE, SET, FROZENSET, INTEGER, COMPLEX, DECIMAL, UUID_ = range(1, 9)
DATE, TIME, DATETIME, TIMEDELTA, ARRAY, SCALAR, ATTACHED = range(9, 16)


class Nest:
    """Packs and unpacks what lies inside an extension value."""

    __slots__ = ()

    def pack(self, value: object) -> bytes:
        """Return `value` as MessagePack."""
        raise NotImplementedError

    def unpack(self, body: bytes | memoryview) -> Any:
        """Return the one value in `body`."""
        raise NotImplementedError

    def attached(self, data: bytes) -> object:
        """Return the value that came in a frame of its own, given what stands for it."""
        raise DecodeError("a value that stands for a frame which is not there")

    def whole(self, body: bytes) -> bytes:
        """Return a value that is not read here, with all that belongs to it inside."""
        return body


def to_ext(value: object, nest: Nest) -> ExtType:
    """Return the extension value for what MessagePack has no type for.

    Raises:
        EncodeError: There is none. The text says why, but not where inside the message.
    """
    kind = type(value)
    known = _ENCODERS.get(kind)
    if known is not None:
        code, write = known
        written = write(value)
        return ExtType(code, written if type(written) is bytes else nest.pack(written))
    if type(value) is Attached:
        return ExtType(ATTACHED, write_attached(value, nest.pack))
    entry = registered_type(kind)
    if entry is not None:
        return ExtType(REGISTERED, write_named(entry.name, nest.pack(plain_form(value))))
    if type(value) is Converted:
        return ExtType(REGISTERED, write_named(value.name, nest.pack(value.plain)))
    if type(value) is Unknown:
        return _unknown_to_ext(value, nest)
    return _numpy_to_ext(value, nest)


def from_ext(code: int, data: bytes, nest: Nest) -> object:
    """Return the value of an extension; `Unknown` where this process knows no better.

    Raises:
        DecodeError: The payload is malformed, or a registered decode function raised.
    """
    known = _DECODERS.get(code)
    try:
        if known is not None:
            source, make = known
            payload: Any = data
            if source is list:
                payload = nest.unpack(data)
                if type(payload) is not list:
                    raise DecodeError(f"an array was expected, not {type(payload).__name__}")
            value = make(payload)
        elif code == REGISTERED:
            value = _read_named(data, nest)
        elif code == ATTACHED:
            value = nest.attached(data)
        elif code < 0:
            raise DecodeError(f"extension {code}, which MessagePack keeps for itself")
        else:
            value = NotImplemented
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(f"malformed payload of extension {code}: {brief(error)}") from error
    return Unknown(code, data) if value is NotImplemented else value


def plain_form(value: object) -> object:
    """Return what the registered encode function makes of `value`."""
    entry = registered_type(type(value))
    if entry is None:
        raise EncodeError(
            f"cannot encode {full_name(type(value))}; register it with zexchange.register(...)"
            f"{_or_say_it(type(value))}"
        )
    try:
        return entry.encode(value)
    except Exception as error:
        raise EncodeError(f"encoding {entry.name} failed: {brief(error)}") from error


def _or_say_it(kind: type) -> str:
    """Return the other cure for a class with fields, of a dataclass, msgspec or pydantic."""
    fields = ("__dataclass_fields__", "__struct_fields__", "__pydantic_fields__")
    if not any(hasattr(kind, name) for name in fields):
        return ""
    return (
        ", or, where it is the whole message, give the exchange its type:"
        f" get_exchange(name, type={kind.__name__})"
    )


def _numpy_to_ext(value: object, nest: Nest) -> ExtType:
    fields = ndarrays.array_fields(value)
    if fields is not None:
        return ExtType(ARRAY, nest.pack(fields))
    fields = ndarrays.scalar_fields(value)
    if fields is not None:
        return ExtType(SCALAR, nest.pack(fields))
    plain_form(value)
    raise EncodeError(f"cannot encode {full_name(type(value))}")


def write_named(name: str, body: bytes) -> bytes:
    """Return the payload of a value of a registered type."""
    text = name.encode()
    return b"".join((b"\xd9", bytes((len(text),)), text, body))


def split_named(data: bytes) -> tuple[str, bytes]:
    """Return the name of a registered type, and the value of it as MessagePack."""
    if len(data) < 3 or data[0] != 0xD9 or len(data) <= 2 + data[1]:
        raise DecodeError("a registered value without its name")
    end = 2 + data[1]
    return data[2:end].decode(), data[end:]


def _read_named(data: bytes, nest: Nest) -> object:
    name, body = split_named(data)
    entry = registered_name(name)
    if entry is None:
        return Unknown(name, nest.whole(body))
    plain = nest.unpack(body)
    try:
        return entry.decode(plain)
    except BaseException as error:  # of a user's function: it is not to end the data thread
        raise DecodeError(f"decoding {name} failed: {brief(error)}") from error


def _unknown_to_ext(value: Unknown, nest: Nest) -> ExtType:
    # What was received and is sent on unread: proven here, for one malformed value would take
    # every other message of its frame with it.
    try:
        if isinstance(value.code, str):
            nest.unpack(value.data)
            return ExtType(REGISTERED, write_named(value.code, value.data))
        from_ext(value.code, value.data, nest)
        return ExtType(value.code, value.data)
    except Exception as error:
        raise EncodeError(f"cannot encode Unknown({value.code!r}): {brief(error)}") from error


def _write_integer(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _read_decimal(data: bytes) -> Decimal:
    # A context of its own: in the thread's the trap may be off, and junk would become NaN.
    return Decimal(data.decode("ascii"), Context(traps=[InvalidOperation]))


_ENCODERS: dict[type, tuple[int, Callable[[Any], bytes | list[Any]]]] = {
    tuple: (TUPLE, list),
    set: (SET, list),
    frozenset: (FROZENSET, list),
    int: (INTEGER, _write_integer),
    complex: (COMPLEX, lambda value: struct.pack(">dd", value.real, value.imag)),
    Decimal: (DECIMAL, lambda value: str(value).encode("ascii")),
    UUID: (UUID_, lambda value: value.bytes),
    date: (DATE, datetimes.date_fields),
    time: (TIME, datetimes.time_fields),
    datetime: (DATETIME, datetimes.datetime_fields),
    timedelta: (TIMEDELTA, datetimes.timedelta_fields),
}
"""Code, and what returns the payload, or the items of which it is the array."""
already_travels(Unknown, Attached, Converted, *_ENCODERS)

_DECODERS: dict[int, tuple[type, Callable[[Any], object]]] = {
    TUPLE: (list, tuple),
    SET: (list, partial(set_of, set)),
    FROZENSET: (list, partial(set_of, frozenset)),
    INTEGER: (bytes, partial(int.from_bytes, byteorder="big", signed=True)),
    COMPLEX: (bytes, lambda data: complex(*struct.unpack(">dd", data))),
    DECIMAL: (bytes, _read_decimal),
    UUID_: (bytes, lambda data: UUID(bytes=data)),
    DATE: (list, datetimes.to_date),
    TIME: (list, datetimes.to_time),
    DATETIME: (list, datetimes.to_datetime),
    TIMEDELTA: (list, datetimes.to_timedelta),
    ARRAY: (list, ndarrays.to_array),
    SCALAR: (list, ndarrays.to_scalar),
}
"""What makes the value: of the payload, or of the items of which that is the array."""

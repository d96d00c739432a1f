"""The MessagePack extension types, for values that plain MessagePack cannot express.

The rule of this module: each payload is MessagePack or fixed bytes, so that any language can read
it, or skip it by its length. It must not know of batches and frames. Integers that are not
MessagePack integers are signed and big-endian.

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
  offset and abbreviation in force at that moment, nil where a bare time of day has none. A
  receiver that does not know the key uses the offset. ``fold`` 1 is the second of two equal
  local times.

A *dtype* is a str, or an array ``base, shape`` (a subarray), or a map (a structure) with
``names``, ``formats`` (dtypes), ``offsets``, ``itemsize`` (in bytes), ``aligned``, and where any
field has one ``titles`` (str or nil). The str is NumPy's array-interface type string, byte order
included: ``<f8``, ``>i4``, ``|b1``, ``<M8[ns]``, ``<U12`` (UTF-32). Formats wider than binary64
differ between machines and carry their count of mantissa bits: ``<f16/63``.

Codes 0 and 16 to 127 are free. A value of such a code arrives as `Unknown`.
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
    """Packs and unpacks the contents of an extension value."""

    __slots__ = ()

    def pack(self, value: object) -> bytes:
        """Return `value` as MessagePack."""
        raise NotImplementedError

    def unpack(self, body: bytes | memoryview) -> Any:
        """Return the one value in `body`."""
        raise NotImplementedError

    def attached(self, data: bytes) -> object:
        """Return the value that came in a frame of its own, given its placeholder."""
        raise DecodeError("a value that stands for a frame which is not there")

    def whole(self, body: bytes) -> bytes:
        """Return the packed value of an unknown type, with all its attached parts inside."""
        return body


def to_ext(value: object, nest: Nest) -> ExtType:
    """Return the extension value for a value that MessagePack has no type for.

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
    """Return the value of an extension; `Unknown` if this process does not know the type.

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
    """Return the value that the registered encode function makes of `value`.

    Raises:
        EncodeError: Its type is not registered, or the function raised.
    """
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
    """Return the other remedy, for a class with fields (a dataclass, or of msgspec or pydantic)."""
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
    """Return the name of a registered type, and its value as MessagePack."""
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
    except BaseException as error:  # raised by a user's function: it must not end the data thread
        raise DecodeError(f"decoding {name} failed: {brief(error)}") from error


def _unknown_to_ext(value: Unknown, nest: Nest) -> ExtType:
    # It was received and is sent on unread. It is checked here, because one malformed value would
    # make every other message of its frame unreadable, too.
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
    # With a context of its own: that of the thread may have the trap off, and make NaN of junk.
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
"""By type, the code, and a function that returns the payload, or the items of a payload that is an
array."""
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
"""By code, the function that makes the value, from the payload (``bytes``) or from the items of a
payload that is an array (``list``)."""

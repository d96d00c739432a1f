"""NumPy arrays and scalars as lists of plain fields, and back.

The rule of this module: NumPy is never imported to encode, because a program that sends an array
has imported it. It is imported when an array arrives; without it, the value is NotImplemented. It
must not know of MessagePack. Arrays with Python objects inside cannot be sent.
"""

import re
import sys
from math import prod
from typing import TYPE_CHECKING, Any

from zexchange.errors import DecodeError, EncodeError
from zexchange.imports import importing
from zexchange.kinds import is_dict, is_list
from zexchange.sendable import full_name

if TYPE_CHECKING:
    import numpy as np

_FORTRAN, _READ_ONLY = 1, 2
_KINDS = frozenset("?biufcmMSUV")
_TYPE_STRING = re.compile(r"([<>|][biufcmMSUV]\d{1,10}(?:\[[0-9a-zA-Zμ/]{1,24}\])?)(?:/(\d+))?")
_NESTED_DTYPES = 16
MAX_DIMENSIONS = 64
"""Extents of a shape: as many as NumPy takes. A longer shape is refused before its extents are
multiplied."""
_MAX_EXTENT = (1 << 63) - 1


def is_array(value: object) -> bool:
    """Return whether a value is an array, and not of a subclass."""
    return type(value) is getattr(sys.modules.get("numpy"), "ndarray", None)


def array_fields(value: object) -> list[object] | None:
    """Return dtype, shape, flags and items of an array; None for any other value."""
    if not is_array(value):
        return None
    array: np.ndarray[Any, Any] = value  # type: ignore[assignment]
    spec = _dtype_fields(array.dtype)
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    flags = _FORTRAN * fortran | _READ_ONLY * (not array.flags.writeable)
    return [spec, list(array.shape), flags, array.tobytes("F" if fortran else "C")]


def scalar_fields(value: object) -> list[object] | None:
    """Return dtype and value of a NumPy scalar; None if it is not of NumPy's own types."""
    generic = getattr(sys.modules.get("numpy"), "generic", None)
    scalar: Any = value
    if generic is None or not isinstance(value, generic):
        return None
    if type(scalar) is not scalar.dtype.type:
        return None
    # Sent as str and bytes: as items of an array they would lose their trailing NULs.
    if isinstance(scalar, str):
        return ["U", str.__str__(scalar)]
    if isinstance(scalar, bytes):
        return ["S", bytes(scalar)]
    return [_dtype_fields(scalar.dtype), scalar.tobytes()]


def to_array(fields: list[Any]) -> object:
    """Rebuild an array, writable unless it was read-only; NotImplemented without NumPy.

    If the items are a memoryview, nobody else uses them: the array is made over them and keeps
    them.
    """
    spec, shape, flags, items = fields
    dtype = _to_dtype(spec)
    if dtype is NotImplemented:
        return NotImplemented
    _check_size(dtype, shape, items)
    # Over a buffer, and not by np.empty, which allocates one item even for an empty array.
    array = _over(_buffer(items, flags), dtype, shape, flags)
    if not array.flags.aligned:
        array = _over(_buffer(bytes(items), flags), dtype, shape, flags)
    return array


def _buffer(items: bytes | memoryview, flags: int) -> bytes | bytearray | memoryview:
    if isinstance(items, bytes):
        return items if flags & _READ_ONLY else bytearray(items)
    if flags & _READ_ONLY:
        return items.toreadonly()
    return bytearray(items) if items.readonly else items


def _over(buffer: object, dtype: Any, shape: Any, flags: int) -> Any:
    order = "F" if flags & _FORTRAN else "C"
    return _numpy().ndarray(tuple(shape), dtype, buffer, order=order)


def to_scalar(fields: list[Any]) -> object:
    """Rebuild a scalar; NotImplemented without NumPy."""
    spec, value = fields
    np = _numpy()
    if np is None:
        return NotImplemented
    if spec == "U" and type(value) is str:
        return np.str_(value)
    if spec == "S" and type(value) is bytes:
        return np.bytes_(value)
    array: Any = to_array([spec, [], 0, value])
    return array if array is NotImplemented else array[()]


def _numpy() -> Any:
    try:
        with importing():
            import numpy
    except ImportError:
        return None
    return numpy


def _check_size(dtype: Any, shape: Any, items: Any) -> None:
    if type(items) not in (bytes, memoryview) or not is_list(shape):
        raise DecodeError("an array is shape and bytes")
    _check_shape(shape)
    if prod(shape) * dtype.itemsize != len(items):
        raise DecodeError(f"{len(items)} bytes do not fill an array of {shape} {dtype!s:.100}")


def _check_shape(shape: list[Any]) -> None:
    """Refuse a shape before its product is computed, which may take minutes.

    The product of very large integers takes time by the square of their digits, and holds the
    interpreter's lock meanwhile.
    """
    if len(shape) > MAX_DIMENSIONS:
        raise DecodeError(f"an array has at most {MAX_DIMENSIONS} dimensions, not {len(shape)}")
    if any(type(extent) is not int or not 0 <= extent <= _MAX_EXTENT for extent in shape):
        raise DecodeError("an array's shape is made of integers from 0 to 2**63 - 1")


def _dtype_fields(dtype: Any, depth: int = 0) -> object:
    if dtype.subdtype is not None and depth < _NESTED_DTYPES:
        base, shape = dtype.subdtype
        return [_dtype_fields(base, depth + 1), list(shape)]
    unusual = dtype.kind == "V" and full_name(dtype.type) != "numpy.void"
    if unusual or dtype.kind not in _KINDS or depth >= _NESTED_DTYPES:
        raise EncodeError(f"cannot encode NumPy values of dtype {dtype!s:.100}")
    if dtype.names is not None:
        return _structure_fields(dtype, depth)
    return f"{dtype.str}/{_mantissa(dtype)}" if dtype.char in "gG" else dtype.str


def _structure_fields(dtype: Any, depth: int) -> dict[str, object]:
    columns = [dtype.fields[name] for name in dtype.names]
    spec: dict[str, object] = {
        "names": list(dtype.names),
        "formats": [_dtype_fields(column[0], depth + 1) for column in columns],
        "offsets": [column[1] for column in columns],
        "itemsize": dtype.itemsize,
        "aligned": dtype.isalignedstruct,
    }
    titles = [column[2] if len(column) > 2 else None for column in columns]
    return {**spec, "titles": titles} if any(t is not None for t in titles) else spec


def _to_dtype(spec: Any, depth: int = 0) -> Any:
    """Return the dtype; NotImplemented if NumPy is missing here, or does not know the format."""
    np = _numpy()
    if np is None:
        return NotImplemented
    if depth > _NESTED_DTYPES:
        raise DecodeError("a dtype nested too deeply")
    if type(spec) is str:
        return _to_plain_dtype(spec)
    if is_dict(spec):
        return _to_structure(spec, depth)
    base, shape = spec
    _check_shape(shape)
    inner = _to_dtype(base, depth + 1)
    return inner if inner is NotImplemented else np.dtype((inner, tuple(shape)))


def _to_plain_dtype(spec: str) -> Any:
    # Matched first: np.dtype takes far more than the string of one type, and objects as well.
    match = _TYPE_STRING.fullmatch(spec)
    if match is None:
        raise DecodeError(f"not a dtype: {spec[:60]!r}")
    try:
        dtype = _numpy().dtype(match[1])
    except TypeError:  # such as <f16 on a machine that has none
        return NotImplemented
    if match[2] is not None and int(match[2]) != _mantissa(dtype):
        return NotImplemented
    return dtype


def _to_structure(spec: dict[Any, Any], depth: int) -> Any:
    formats = [_to_dtype(each, depth + 1) for each in spec["formats"]]
    if any(each is NotImplemented for each in formats):
        return NotImplemented
    if any(type(title) not in (str, type(None)) for title in spec.get("titles", ())):
        raise DecodeError("the titles of a structure are texts")
    known = {key: spec[key] for key in ("names", "offsets", "titles", "itemsize") if key in spec}
    return _numpy().dtype({**known, "formats": formats}, align=bool(spec["aligned"]))


def _mantissa(dtype: Any) -> int:
    return int(_numpy().finfo(dtype).nmant)

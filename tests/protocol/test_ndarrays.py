"""NumPy arrays and scalars through the codec."""

from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import examples
from zexchange.errors import DecodeError, EncodeError
from zexchange.history import Bulk
from zexchange.protocol.codec import attachments as buffers
from zexchange.protocol.codec import ndarrays as arrays_module
from zexchange.protocol.codec.values import Unknown, decode, encode

np = pytest.importorskip("numpy")
from hypothesis.extra import numpy as hnp  # noqa: E402

plain_dtypes = hnp.scalar_dtypes() | hnp.unicode_string_dtypes() | hnp.byte_string_dtypes()
dtypes = hnp.nested_dtypes(plain_dtypes | hnp.array_dtypes(plain_dtypes, max_size=3), max_leaves=4)


def same(a: Any, b: Any) -> bool:
    return (
        type(a) is type(b)
        and a.dtype == b.dtype
        and a.dtype.str == b.dtype.str
        and a.shape == b.shape
        and a.tobytes() == b.tobytes()
    )


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    dtype = draw(dtypes.filter(lambda dtype: not dtype.hasobject))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    if dtype.subdtype is not None:
        dtype = np.dtype([("sub", dtype)])
    size = dtype.itemsize * int(np.prod(shape))
    # Bits of any kind, but only characters that exist in text.
    fill = bytes(size) if "U" in str(dtype) else draw(st.binary(min_size=size, max_size=size))
    array = np.ndarray(shape, dtype, bytearray(fill))
    return np.asfortranarray(array) if draw(st.booleans()) else array


@given(arrays())
@settings(max_examples=examples(300))
def test_arrays_arrive_as_they_were(array: Any) -> None:
    """Dtype, byte order, shape, memory order, writability and every bit arrive."""
    array.flags.writeable = array.size % 2 == 0
    arrived: Any = decode(encode({"a": (array,)}))["a"][0]  # type: ignore[index]
    assert same(arrived, array)
    assert arrived.flags.f_contiguous == array.flags.f_contiguous
    assert arrived.flags.writeable == array.flags.writeable


@pytest.fixture
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attach arrays from one byte on."""
    monkeypatch.setattr(buffers, "LARGE", 1)


def by_frames(msg: object, start: int = 0) -> Any:
    """The message as it arrives by frames of its own, at some place in memory."""
    body = buffers.encode_attaching(msg)
    if isinstance(body, bytes):
        return decode(body)
    parts = [memoryview(bytearray(start) + part)[start:] for part in body.buffers]
    return buffers.decode_frame(Bulk(body.packed, tuple(parts)), 0, 1)[0]


@pytest.mark.usefixtures("small_is_large")
@given(arrays(), st.integers(0, 17))
@settings(max_examples=examples(300))
def test_attached_arrays_arrive_as_they_were(array: Any, start: int) -> None:
    """In frames of their own, too, whatever the alignment of the memory they arrive in."""
    array.flags.writeable = array.size % 2 == 0
    arrived: Any = by_frames({"a": (array, [array.T])}, start)["a"]
    for got, sent in ((arrived[0], array), (arrived[1][0], array.T)):
        assert same(got, sent)
        assert got.flags.f_contiguous == sent.flags.f_contiguous
        assert got.flags.writeable == sent.flags.writeable
        assert got.flags.aligned


@pytest.mark.usefixtures("small_is_large")
def test_attached_views_arrive_with_what_they_show() -> None:
    """Strided, reversed, transposed and repeated views, and what is changed right after."""
    base = np.arange(24.0).reshape(4, 6)
    for view in (base[::2, ::-1], base.T, base[:, 1], base[1:1], np.broadcast_to(base[0], (3, 6))):
        assert same(by_frames([view])[0], view)
    body = buffers.encode_attaching(base)
    assert isinstance(body, Bulk)
    before = base.copy()
    base[:] = 0
    assert same(buffers.decode_frame(body, 0, 1)[0], before)


@pytest.mark.usefixtures("small_is_large")
def test_an_attached_array_is_made_over_what_arrived() -> None:
    """It is not copied on the way in, and is nobody else's."""
    array = np.arange(8.0)
    body = buffers.encode_attaching([array])
    assert isinstance(body, Bulk)
    memory = memoryview(bytearray(body.buffers[0]))
    (got,) = buffers.decode_frame(Bulk(body.packed, (memory,)), 0, 1)[0]  # type: ignore[misc]
    got[0] = 7
    assert memory.cast("d")[0] == 7


@pytest.mark.usefixtures("small_is_large")
def test_attached_arrays_without_numpy_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, so that they can be sent on."""
    packed, body = encode([np.arange(3)]), buffers.encode_attaching([np.arange(3)])
    assert isinstance(body, Bulk)
    monkeypatch.setattr(arrays_module, "_numpy", lambda: None)
    (value,) = buffers.decode_frame(body, 0, 1)
    assert isinstance(value, list)
    assert isinstance(value[0], Unknown)
    monkeypatch.undo()
    assert encode(value) == packed


@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize("dtype", [object, [("a", "O")]])
def test_attached_objects_are_refused(dtype: Any) -> None:
    """With the path."""
    with pytest.raises(EncodeError, match=r'^msg\["a"\]\[1\]: cannot encode'):
        buffers.encode_attaching({"a": (b"12345", np.zeros(3, dtype))})


@given(arrays().filter(lambda array: array.size))
def test_scalars_arrive_with_their_type(array: Any) -> None:
    """A scalar out of any array arrives as the same NumPy type with the same bits."""
    scalar = array.flat[0]
    arrived = decode(encode([scalar]))[0]  # type: ignore[index]
    assert same(arrived, scalar)


@pytest.mark.parametrize(
    "scalar",
    [
        np.bool_(True),
        np.float64(-0.0),
        np.longdouble(1) / 3,
        np.clongdouble(1j),
        np.datetime64("NaT", "s"),
        np.datetime64("2026-01-01T00", "25s"),
        np.timedelta64(-3, "us"),
        np.str_(""),
        np.str_("a\0"),
        np.bytes_(b"a\0"),
        np.void(b"\1\2"),
    ],
)
def test_each_kind_of_scalar_arrives(scalar: Any) -> None:
    """Text keeps its trailing NULs, dates their unit, wide floats their bits."""
    arrived = decode(encode(scalar))
    assert type(arrived) is type(scalar)
    assert arrived.dtype == scalar.dtype  # type: ignore[attr-defined]
    assert repr(arrived) == repr(scalar)
    assert len(bytes(arrived)) == len(bytes(scalar)) if isinstance(scalar, bytes) else True


def test_views_arrive_with_what_they_show() -> None:
    """A strided, reversed or transposed view arrives equal, contiguous, in its memory order."""
    base = np.arange(24).reshape(4, 6)
    for view in (base[::2, ::-1], base.T, base[:, 1], base[1:1], np.broadcast_to(base[0], (3, 6))):
        assert same(decode(encode(view)), view)
    assert decode(encode(base.T)).flags.f_contiguous  # type: ignore[attr-defined]


def test_structures_keep_offsets_titles_and_alignment() -> None:
    """Padding, overlapping fields, titles, subarrays and an empty structure arrive."""
    for dtype in (
        np.dtype([("a", "i1"), ("b", "f8")], align=True),
        np.dtype({"names": ["a", "b"], "formats": ["<u4", "u1"], "offsets": [0, 2], "itemsize": 9}),
        np.dtype([(("title", "a"), ">i2", (2, 2)), ("b", [("c", "<M8[ms]")])]),
        np.dtype([]),
    ):
        arrived: Any = decode(encode(np.zeros(2, dtype)))
        assert arrived.dtype == dtype
        assert arrived.dtype.fields == dtype.fields
        assert arrived.dtype.isalignedstruct == dtype.isalignedstruct


class Sub(np.ndarray):
    pass


class SubFloat(np.float64):
    pass


@pytest.mark.parametrize(
    "refused",
    [
        np.array([None]),
        np.zeros(1, [("a", "O")]),
        np.zeros(2).view(Sub),
        SubFloat(1),
        np.ma.masked_array([1]),
        np.rec.array([(1,)], dtype=[("a", "i4")])[0],
        np.dtype("f8"),
    ],
)
def test_objects_and_subclasses_are_refused(refused: object) -> None:
    """Arrays of Python objects and subclasses of NumPy's types are an EncodeError with a path."""
    with pytest.raises(EncodeError, match=r"^msg\[0\]: cannot encode"):
        encode([refused])


def packed(code: int, *fields: object) -> bytes:
    return msgpack.packb(msgpack.ExtType(code, msgpack.packb(fields)))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "fields",
    [
        ("|O8", [1], 0, bytes(8)),
        ("O", [1], 0, bytes(8)),
        ("<f8,<f8", [1], 0, bytes(16)),
        ("<f8", [2], 0, bytes(8)),
        ("<f8", [1], 0, bytes(16)),
        ("<f8", [-1], 0, b""),
        ("<f8", [2**62, 2**62], 0, b""),
        ("<f8", [True], 0, bytes(8)),
        ("<f8", [1] * 65, 0, bytes(8)),
        ("<f8", 1, 0, bytes(8)),
        ("<f8", [1], 0, "12345678"),
        ("<U99999999999", [0], 0, b""),
        ({"names": ["a"], "formats": ["|O8"], "offsets": [0], "itemsize": 8}, [1], 0, bytes(8)),
        (["<f8", [2**40]], [0], 0, b""),
        (["<f8"], [0], 0, b""),
        ("<f8", [1], "", bytes(8)),
        ("<f8", [1]),
    ],
)
def test_malformed_arrays_are_refused(fields: tuple[object, ...]) -> None:
    """Objects, sizes that do not fit, and dtypes that are none raise DecodeError."""
    with pytest.raises(DecodeError):
        decode(packed(13, *fields))


@pytest.mark.parametrize(
    "fields",
    [
        ("<f8", [1 << 8000] * 700, 0, b""),
        ("<f8", [1] * 1_000_000, 0, b""),
        (["<f8", [1 << 8000] * 700], [0], 0, b""),
        ("<f8", [1 << 63, 0], 0, b""),
    ],
    ids=["huge extents", "many extents", "a subarray of huge extents", "beyond NumPy's"],
)
def test_a_shape_is_bounded_before_it_is_multiplied(
    fields: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The product of a megabyte of extents takes minutes, with the interpreter's lock held."""
    monkeypatch.setattr("zexchange.protocol.codec.ndarrays.prod", pytest.fail)
    with pytest.raises(DecodeError):
        arrays_module.to_array(list(fields))


def test_items_of_no_size_cost_no_memory() -> None:
    """An empty array of gigantic items is made without allocating one."""
    arrived: Any = decode(packed(13, "<U500000000", [0], 0, b""))
    assert arrived.shape == (0,)


def test_a_wide_float_of_another_machine_is_unknown() -> None:
    """A long double with another mantissa is not taken for one's own."""
    assert isinstance(decode(packed(13, "<f16/112", [1], 0, bytes(16))), Unknown)


def test_dtypes_nest_as_deep_as_encoding_allows() -> None:
    """There is a depth of structures that is refused, and every smaller one arrives."""
    dtype = np.dtype("i1")
    depths = []
    for depth in range(24):
        try:
            arrived: Any = decode(encode(np.zeros(1, dtype)))
        except EncodeError:
            break
        assert arrived.dtype == dtype
        depths.append(depth)
        dtype = np.dtype([("x", dtype)])
    assert 8 < len(depths) < 24


dtype_specs = st.recursive(
    st.sampled_from(["<f8", "|b1", "<U3", "|V0", "<M8[ns]", "|O8", "", "<i3", "<f16/63"])
    | st.none(),
    lambda inner: (
        st.tuples(inner, st.lists(st.integers(-1, 3), max_size=2))
        | st.fixed_dictionaries(
            {
                "names": st.lists(st.sampled_from(["a", "b", 1]), max_size=2),
                "formats": st.lists(inner, max_size=2),
                "offsets": st.lists(st.integers(-4, 20), max_size=2),
                "itemsize": st.integers(-1, 40),
                "aligned": st.booleans(),
            }
        )
    ),
    max_leaves=4,
)


@given(
    st.sampled_from([13, 14]),
    dtype_specs,
    st.lists(st.integers(-1, 3), max_size=3),
    st.integers(-1, 4),
    st.binary(max_size=32),
)
@settings(max_examples=examples(400))
def test_any_dtype_is_decoded_or_refused(
    code: int, spec: object, shape: list[int], flags: int, items: bytes
) -> None:
    """Whatever a dtype, shape and items say, the outcome is a value or DecodeError."""
    fields = (spec, shape, flags, items) if code == 13 else (spec, items)
    try:
        value: Any = decode(packed(code, *fields))
    except DecodeError:
        return
    assert isinstance(value, Unknown) or not value.dtype.hasobject


def test_titles_are_texts() -> None:
    """NumPy takes anything for a field's title; what is no text could not be sent on."""
    spec = {"names": ["a"], "formats": ["<i4"], "offsets": [0], "itemsize": 4, "aligned": False}
    for titles in ([0], [b"x"], [["x"]]):
        body = msgpack.packb([{**spec, "titles": titles}, [1], 0, bytes(4)])
        with pytest.raises(DecodeError, match="titles"):
            decode(bytes((0xC7, len(body), 13)) + body)

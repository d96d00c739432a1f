"""How a message becomes a line."""

import json
import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zexchange import Delivery, Unknown
from zexchange.display.text import (
    EXCERPT_ITEMS,
    EXCERPT_TEXT,
    as_json,
    as_text,
    beginning,
    excerpt,
    named_json,
    named_text,
    on_terminal,
    printable,
    to_json,
)

surrogates = st.text(st.characters(codec=None), max_size=20)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | surrogates
    | st.binary(max_size=20)
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.complex_numbers()
)
keys = st.none() | st.booleans() | st.integers() | surrogates | st.tuples(st.integers())
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.frozensets(scalars, max_size=4)
        | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=20,
)


def delivery(msg: object, name: str = "a.b") -> Delivery:
    return Delivery(name, msg, None, None, 0.0)


@given(values)
def test_any_value_is_one_line_of_strict_json(value: object) -> None:
    """Whatever can travel becomes one line that a strict JSON parser reads."""
    line = as_json(delivery(value))
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    json.loads(line, parse_constant=pytest.fail)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | surrogates,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(surrogates, inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(plain)
def test_what_json_has_comes_back_equal(value: object) -> None:
    """A value in JSON's own terms is the same after a JSON parser."""
    assert json.loads(to_json(value)) == value


@given(st.text(st.characters(codec="utf-8")))
def test_text_is_printed_as_it_is(text: str) -> None:
    """A str is its UTF-8 and a newline."""
    assert as_text(delivery(text)) == text.encode() + b"\n"


@given(st.binary())
def test_bytes_are_printed_as_they_are(block: bytes) -> None:
    """Bytes are themselves and a newline."""
    assert as_text(delivery(block)) == block + b"\n"


@given(surrogates)
def test_a_lone_surrogate_does_no_harm(text: str) -> None:
    """A str that has no UTF-8 is printed so that it can be told from any other."""
    line = as_text(delivery(text))
    assert line[:-1].decode("utf-8", "surrogatepass") == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime(2024, 2, 29, 12, 30, tzinfo=UTC), "2024-02-29T12:30:00+00:00"),
        (date(2024, 2, 29), "2024-02-29"),
        (time(12, 30), "12:30:00"),
        (timedelta(minutes=1.5), 90.0),
        (Decimal("1.10"), "1.10"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (1 + 2j, [1.0, 2.0]),
        (b"\xff\x00", {"base64": "/wA="}),
        ((1, (2,)), [1, [2]]),
        ({3, 1, 2}, [1, 2, 3]),
        (float("nan"), None),
        ({1: "a", None: "b", (1, 2): "c"}, {"1": "a", "null": "b", "[1,2]": "c"}),
        ({1: "a", "1": "b"}, [[1, "a"], ["1", "b"]]),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.float32(1.5), 1.5),
        (np.float64(1.5), 1.5),
        (np.array([float("inf")]), [None]),
        (np.datetime64("2024-02-29T12:30"), "2024-02-29T12:30:00"),
        (np.array([b"ab"]), [{"base64": "YWI="}]),
        (1 << 20_000, hex(1 << 20_000)),
        (Decimal("nan"), "NaN"),
        (Unknown(7, b"\x00"), {"unknown": 7, "base64": "AA=="}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_type_has_its_form(value: object, expected: object) -> None:
    """What JSON lacks is written in a form that a script can use."""
    assert json.loads(to_json(value)) == expected


def test_names_come_first() -> None:
    """With names, text has the name and a tab, and JSON an object."""
    assert named_text(delivery("x")) == b"a.b\tx\n"
    assert named_text(delivery({"k": 1})) == b'a.b\t{"k":1}\n'
    assert named_json(delivery("é")) == '{"name":"a.b","message":"é"}\n'.encode()


def nested(depth: int, make: Callable[[object], object]) -> object:
    value: object = 1
    for _ in range(depth):
        value = make(value)
    return value


@pytest.mark.parametrize("make", [lambda v: [v], lambda v: (v,), lambda v: {"k": v}])
def test_a_deep_nest_is_a_line_nevertheless(make: Callable[[object], object]) -> None:
    """A message of some hundred bytes may be nested deeper than JSON can be written."""
    line = as_json(delivery(nested(500, make)))
    assert b"nested" in line
    json.loads(line)


@pytest.mark.parametrize("shape", [(2**40, 0), (300, 300, 300, 0), (0, 2**40)])
def test_an_array_without_items_is_not_unrolled(shape: tuple[int, ...]) -> None:
    """Its lists would fill the memory though it holds nothing."""
    assert json.loads(to_json(np.empty(shape, "f4"))) == {"shape": list(shape), "dtype": "float32"}
    assert to_json(np.empty((2, 0))) == b"[[],[]]"


DANGEROUS = "\x1b]0;owned\x07", "a\nb", "\r", "\x9b2J", "\u202egnp", "\u2028", "\ud800", "\x00"


@pytest.mark.parametrize("text", DANGEROUS)
def test_nothing_that_a_terminal_obeys_is_printable(text: str) -> None:
    """Names, labels and reasons that peers choose neither move the cursor nor make rows."""
    shown = printable(text)
    assert shown.isprintable()
    assert "\\" in shown


@given(st.text(st.characters(codec=None)))
def test_printable_text_is_left_alone(text: str) -> None:
    """What is shown as itself stays, and all else is ASCII that says which character it was."""
    shown = printable(text)
    shown.encode()
    if not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in text):
        assert shown == text


def test_a_name_makes_no_row() -> None:
    """A tab or newline in a name would look like another message."""
    assert named_text(delivery("x", "a\tadmin\nb")) == b"a\\tadmin\\nb\tx\n"


def test_a_terminal_takes_no_orders_from_a_message() -> None:
    """On a terminal escapes are shown; lines and columns of a text stay as they are."""
    show = on_terminal(as_text)
    assert show(delivery("one\n\ttwo\x1b[2J")) == b"one\n\ttwo\\x1b[2J\n"
    assert show(delivery(b"\xff\x1b")) == b"\\xff\\x1b\n"


def test_a_nest_of_keys_that_look_alike_takes_no_longer_than_it_is_deep() -> None:
    """A few hundred bytes, where each level was shown twice: that would take years."""
    nest: object = 0
    for _ in range(90):
        nest = {1: nest, "1": 0}
    assert to_json(nest).count(b'["1",0]') == 90


def test_arrays_that_would_be_shown_as_more_than_they_have_are_named() -> None:
    """Items of no bytes, and fields that lie on top of each other, can be any number."""
    np = pytest.importorskip("numpy")
    fields = {"formats": ["u1"] * 500, "offsets": [0] * 500, "itemsize": 1}
    overlapping = np.dtype({"names": [f"f{number}" for number in range(500)], **fields})
    for dtype, shape in (
        (np.dtype("V0"), (1 << 40,)),
        (np.dtype("S0"), (5, 1 << 30)),
        (np.dtype([]), (1 << 40,)),
        (np.dtype([("a", "u1"), ("b", "u1", (1 << 30, 0))]), (2,)),
        (overlapping, (1000,)),
    ):
        array = np.ndarray(shape, dtype, bytearray(dtype.itemsize * 1000))
        shown = json.loads(to_json({"a": array}))["a"]
        assert shown["shape"] == list(shape)
    few = np.ndarray((2,), overlapping, bytearray(2))
    assert json.loads(to_json(few)) == [[0] * 500] * 2


@given(values)
def test_an_excerpt_of_any_value_is_short_and_safe(value: object) -> None:
    """One line without control characters, whatever the message is."""
    shown = excerpt(value)
    assert len(shown) <= EXCERPT_TEXT
    assert printable(shown) == shown


def test_an_excerpt_costs_no_more_than_it_shows() -> None:
    """Only the beginning of a large message is looked at."""
    large: list[object] = [{"a": list(range(1000))}] * 100_000
    few = beginning(large, [EXCERPT_ITEMS])
    assert len(to_json(few)) < 10_000
    for value in (large, "x" * 10**8, b"x" * 10**8, np.zeros(10**7), {0: large}, range(5)):
        assert len(excerpt(value)) <= EXCERPT_TEXT
    nest: list[object] = []
    for _ in range(10_000):
        nest = [nest]
    assert "…" in excerpt(nest)
    assert excerpt(b"\x01\xff") == "2 bytes: 01 ff"
    assert excerpt(np.zeros((2000, 1000))) == '{"shape":[2000,1000],"dtype":"float64"}'
    assert excerpt(Unknown("mine", b"x" * 10**7)).startswith('{"unknown":"mine"')
    assert excerpt({"a": [1, 2.5, None]}) == '{"a":[1,2.5,null]}'

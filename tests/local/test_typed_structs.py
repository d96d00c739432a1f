"""Structs that become bytes at once: the same bytes, messages and refusals as by way of a dict."""

import enum
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fuzz.sameness import same
from tests.support import examples
from zexchange.errors import DecodeError
from zexchange.local.typed.codecs import codec_for, direct_of
from zexchange.local.typed.structs import Direct
from zexchange.protocol.codec.values import decode, encode

msgspec = pytest.importorskip("msgspec")


class Color(enum.Enum):
    RED = "r"
    BLUE = "b"


class Fallen(enum.Enum):
    ONE = 1

    @classmethod
    def _missing_(cls, value: object) -> "Fallen":
        return cls.ONE


class Leg(msgspec.Struct, tag="leg"):  # type: ignore[misc]
    px: float
    notes: list[str] = msgspec.field(default_factory=list)


class Pair(msgspec.Struct, array_like=True, tag="pair"):  # type: ignore[misc]
    a: int
    b: str = "b"


class Trade(msgspec.Struct, omit_defaults=True, rename={"lots": "LOTS"}):  # type: ignore[misc]
    sym: str
    price: float
    lots: Annotated[int, msgspec.Meta(ge=0)] = 1
    side: Literal["buy", "sell", 7] = "buy"
    leg: Leg | int | None = None
    color: Color = Color.RED
    more: dict[str, list[Leg]] = msgspec.field(default_factory=dict)
    marks: set[int] = msgspec.field(default_factory=set)


class Deep(msgspec.Struct):  # type: ignore[misc]
    inside: "list[Deep]"


class Compared(msgspec.Struct):  # type: ignore[misc]
    x: int

    def __eq__(self, other: object) -> bool:
        return True


class Made(msgspec.Struct):  # type: ignore[misc]
    x: int

    def __post_init__(self) -> None:
        raise SystemExit


def with_field(kind: Any, **more: Any) -> Any:
    return msgspec.defstruct("Field", [("x", kind)], **more)


@pytest.mark.parametrize("kind", [Trade, Leg, Pair, with_field(list[Trade | None])])
def test_a_type_of_plain_parts_is_direct(kind: Any) -> None:
    """Numbers, texts, lists, dicts by texts, enums, literals, and structs of these."""
    assert direct_of(codec_for(kind)) is not None


@pytest.mark.parametrize(
    "kind",
    [
        *(Deep, Compared, Made, with_field(Deep), with_field(int, eq=False)),
        *map(with_field, (Any, object, dict, list, bytes, bytearray, Decimal, UUID, datetime)),
        *map(with_field, (tuple[int, ...], tuple[int, str], dict[int, str], Fallen, complex)),
        *map(with_field, (int | datetime, list[Made], dict[str, Compared], msgspec.Raw)),
        msgspec.defstruct("Called", [("x", int, msgspec.field(default_factory=lambda: 1))]),
    ],
)
def test_another_type_is_not(kind: Any) -> None:
    """What travels otherwise, has no bound of depth, has other keys, or runs code when made."""
    assert direct_of(codec_for(kind)) is None


texts = st.text(max_size=3)
odd = st.sampled_from(
    [
        *(True, None, b"x", (1, 2), {1}, Decimal(1), datetime(2026, 1, 1, tzinfo=UTC), UUID(int=1)),
        *(Color.BLUE, Fallen.ONE, 2**70, -1, 1.0, float("nan"), "r", "\ud800", [], {}, object()),
        *(Leg(1.0), Leg("no"), Pair(1), bytearray(b"x"), memoryview(b"x")),
    ]
)
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats()
fields = st.fixed_dictionaries(
    {"sym": texts | odd, "price": numbers | odd},
    optional={
        "lots": st.integers(0, 9) | odd,
        "side": st.sampled_from(["buy", "sell", 7]) | odd,
        "leg": st.builds(Leg, numbers, st.lists(texts, max_size=2)) | odd,
        "color": st.sampled_from(Color) | odd,
        "more": st.dictionaries(texts, st.lists(st.builds(Leg, numbers), max_size=2)) | odd,
        "marks": st.sets(st.integers(0, 99), max_size=3) | odd,
    },
)


def parts() -> tuple[Any, Direct]:
    codec = codec_for(Trade)
    straight = direct_of(codec)
    assert straight is not None
    return codec, straight


@given(fields)
@settings(max_examples=examples(500))
@example({"sym": "A", "price": 1})
@example({"sym": datetime(2026, 1, 1, tzinfo=UTC), "price": 1.0})
@example({"sym": "A", "price": 1.0, "color": "r"})
def test_what_is_packed_at_once_is_the_same_bytes(given: dict[str, Any]) -> None:
    """And what does not fit, or is not the same, is left to the way by the dict."""
    codec, straight = parts()
    body = straight.pack(Trade(**given))
    if body is not None:
        assert body == encode(codec.encode(Trade(**given)))


def test_usual_messages_are_packed_at_once() -> None:
    """The property above would hold as well if none were."""
    _, straight = parts()
    leg = Leg(2, ["a"])
    for msg in (
        Trade("A", 1.5),
        Trade("A", 1, 2, 7, leg, Color.BLUE, {"k": [leg]}, {1, 2}),
        Trade("é" * 100_000, -0.0, leg=3),
    ):
        assert straight.pack(msg) is not None


@pytest.mark.parametrize("msg", [{"sym": "A", "price": 1.0}, Leg(1.0), None, Trade("A", "much")])
def test_what_is_no_such_message_is_not_packed(msg: object) -> None:
    """The way by the dict says what is wrong with it."""
    _, straight = parts()
    assert straight.pack(msg) is None


legs = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["leg", "pair"]),
        "px": numbers,
        "notes": st.just(["a"]) | st.just([1]),
    },
)
plain = st.fixed_dictionaries(
    {},
    optional={
        "sym": texts | st.just((1,)),
        "price": numbers | st.booleans() | texts,
        "LOTS": st.integers(-2, 2**64 - 1) | numbers | st.none(),
        "side": st.sampled_from(["buy", "other", 7, 7.0, 8, True]),
        "leg": st.none() | numbers | legs | st.just(["pair", 1]),
        "color": st.sampled_from(["r", "b", "x", None]),
        "more": st.dictionaries(texts | st.integers(), st.lists(st.just({"type": "leg", "px": 1}))),
        "marks": st.lists(st.integers(0, 3) | texts, max_size=3) | st.just((1, 2)),
        "unknown": texts | st.just((1, {2: 3})),
    },
)


@given(plain | st.lists(numbers, max_size=3) | numbers, st.data())
@settings(max_examples=examples(500))
def test_what_is_made_at_once_is_the_same_message(sent: object, data: st.DataObject) -> None:
    """Bytes that make a message make the one that the dict makes; others make none."""
    codec, straight = parts()
    body = bytearray(encode(sent))
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    try:
        made = straight.one(bytes(body))
    except Exception:
        return
    try:
        value = decode(bytes(body))
    except DecodeError:  # in a field that the type does not know
        return
    known = codec.decode(value)
    assert type(known) is type(made)
    assert same(msgspec.structs.astuple(known), msgspec.structs.astuple(made)) or known == made


def test_messages_that_fit_are_made_at_once() -> None:
    """The property above would hold as well if none were; unknown fields and defaults included."""
    _, straight = parts()
    body = encode({"sym": "A", "price": 1, "unknown": (1, 2)})
    assert straight.one(body) == Trade("A", 1.0)
    assert straight.several(b"\x92" + body + body) == [Trade("A", 1.0)] * 2

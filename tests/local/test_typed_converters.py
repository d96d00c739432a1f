"""What types travel as, and what comes of values that do not fit."""

import datetime
import decimal
import enum
import typing
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass, field
from typing import Annotated, Any, ClassVar, Literal, NewType, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zexchange.local.typed import TypeMismatch, shape_of

Metres = NewType("Metres", float)


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Right(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


@dataclass(frozen=True, slots=True)
class Leg:
    px: float
    size: int = 1


@dataclass
class Trade:
    sym: str
    at: datetime.datetime
    side: Side
    legs: list[Leg]
    first: Leg | None = None
    second: Optional[Leg] = None  # noqa: UP045
    tags: dict[str, int] = field(default_factory=dict)
    pair: tuple[int, str] = (0, "")
    many: tuple[Leg, ...] = ()
    ids: set[int] = field(default_factory=set)
    frozen: frozenset[str] = frozenset()
    what: int | str | list[Leg] = 0
    kind: Literal["spot", "future"] = "spot"
    level: Level = Level.LOW
    rights: Right = Right.READ
    length: Metres = Metres(0.0)
    note: Annotated[str, "for people"] = ""
    more: Any = None
    before: "Trade | None" = None
    seen: ClassVar[int] = 0
    cached: int = field(default=0, init=False)


NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)

legs = st.builds(Leg, st.floats(allow_nan=False), st.integers())
trades: st.SearchStrategy[Trade] = st.deferred(
    lambda: st.builds(
        Trade,
        st.text(),
        st.datetimes(),
        st.sampled_from(Side),
        st.lists(legs, max_size=3),
        st.none() | legs,
        st.none() | legs,
        st.dictionaries(st.text(), st.integers(), max_size=3),
        st.tuples(st.integers(), st.text()),
        st.lists(legs, max_size=2).map(tuple),
        st.sets(st.integers(), max_size=3),
        st.frozensets(st.text(), max_size=3),
        st.integers() | st.text() | st.lists(legs, max_size=2),
        st.sampled_from(["spot", "future"]),
        st.sampled_from(Level),
        st.sampled_from([Right.READ, Right.WRITE, Right.READ | Right.WRITE]),
        st.floats(allow_nan=False).map(Metres),
        st.text(),
        st.none() | st.integers() | st.dictionaries(st.text(), st.integers(), max_size=2),
        st.none() | trades,
    )
)
PLAIN = (str, float, int, bool, bytes, type(None), datetime.datetime)


def is_plain(value: object) -> bool:
    """Whether a value is made of what any process knows."""
    if type(value) is dict:
        return all(map(is_plain, value)) and all(map(is_plain, value.values()))
    if type(value) in (list, tuple, set, frozenset):
        return all(map(is_plain, value))  # type: ignore[call-overload]
    return type(value) in PLAIN


@given(trades)
def test_what_travels_is_plain_and_comes_back_equal(trade: Trade) -> None:
    """Whatever a dataclass is made of."""
    shape = shape_of(Trade)
    plain = shape.encode(trade)
    assert is_plain(plain)
    assert shape.decode(plain) == trade


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.floats() | st.binary(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["sym", "at", "side", "legs", "px", "first", "tags", "before", "x"]
                ),
                inner,
                max_size=6,
            )
        ),
    )
)
def test_whatever_arrives_is_made_or_is_a_misfit(plain: Any) -> None:
    """Nothing else comes out of a decoder, whatever a stranger sends."""
    try:
        made = shape_of(Trade).decode(plain)
    except TypeMismatch as misfit:
        made, said = None, str(misfit)
    assert type(made) is Trade or len(said) < 500


@dataclass
class Chain:
    below: "Chain | None" = None


def test_too_deep_a_nest_is_a_misfit() -> None:
    """A class that has itself inside may come nested as deeply as MessagePack goes."""
    plain: dict[str, Any] = {}
    shape, chain = shape_of(Chain), Chain()
    for _ in range(2000):
        plain, chain = {"below": plain}, Chain(chain)
    with pytest.raises(TypeMismatch, match="nested more deeply"):
        shape.decode(plain)
    with pytest.raises(TypeMismatch, match="nested more deeply"):
        shape.encode(chain)


GOOD: dict[str, Any] = {"sym": "A", "at": NOW, "side": "buy", "legs": []}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sym": 1}, r"msg\.sym: expected str, not int"),
        ({"at": "2026-01-02"}, r"msg\.at: expected datetime, not str"),
        ({"side": "hold"}, r"msg\.side: 'hold' is none of Side"),
        ({"side": []}, r"msg\.side: list is none of Side"),
        ({"legs": [{"px": 1.0}, {"px": "x"}]}, r"msg\.legs\[1\]\.px: expected float, not str"),
        ({"legs": [{}]}, r"msg\.legs\[0\]\.px: missing"),
        ({"legs": {}}, r"msg\.legs: expected list\[Leg\], not dict"),
        ({"first": 3}, r"msg\.first: expected Leg \| None, not int"),
        ({"first": {"px": None}}, r"msg\.first\.px: expected float, not None"),
        ({"tags": {"a": "b"}}, r"msg\.tags\['a'\]: expected int, not str"),
        ({"tags": {1: 1}}, r"msg\.tags\[1\]: expected str, not int"),
        ({"pair": (1, 2)}, r"msg\.pair\[1\]: expected str, not int"),
        ({"pair": (1,)}, r"msg\.pair: expected tuple\[int, str\], not 1 values"),
        ({"ids": ["a"]}, r"msg\.ids\[0\]: expected int, not str"),
        ({"what": 1.5}, r"msg\.what: expected int \| str \| list\[Leg\], not float"),
        ({"kind": "bond"}, r"msg\.kind: expected 'spot' \| 'future', not 'bond'"),
        ({"kind": []}, r"msg\.kind: expected 'spot' \| 'future', not list"),
        ({"level": 9}, r"msg\.level: 9 is none of Level"),
        ({"before": {"sym": "B"}}, r"msg\.before\.at: missing"),
        ({"sym": None}, r"msg\.sym: expected str, not None"),
    ],
)
def test_a_misfit_says_where_and_why(change: dict[str, Any], said: str) -> None:
    """The path leads to the part that is wrong."""
    with pytest.raises(TypeMismatch, match=said):
        shape_of(Trade).decode({**GOOD, **change})


def test_what_is_shown_of_a_strangers_value_is_short() -> None:
    """However long it is; a huge number is not even written out."""
    for value in ("x" * 10_000, 10**5000, b"x" * 10_000):
        with pytest.raises(TypeMismatch) as caught:
            shape_of(Trade).decode({**GOOD, "level": value})
        assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sym": 1}, r"msg\.sym: expected str, not int"),
        ({"side": "buy"}, r"msg\.side: expected Side, not str"),
        ({"legs": [Leg("1")]}, r"msg\.legs\[0\]\.px: expected float, not str"),  # type: ignore[arg-type]
        ({"legs": [{"px": 1.0}]}, r"msg\.legs\[0\]: expected Leg, not dict"),
        ({"legs": ()}, r"msg\.legs: expected list\[Leg\], not tuple"),
        ({"level": 1}, r"msg\.level: expected Level, not int"),
    ],
)
def test_the_sender_is_checked_too(change: dict[str, Any], said: str) -> None:
    """A dataclass holds whatever it is given: what leaves is what its annotations say."""
    trade = Trade(**{**GOOD, "side": Side.BUY, **change})
    with pytest.raises(TypeMismatch, match=said):
        shape_of(Trade).encode(trade)


def test_a_later_sender_and_an_earlier_one() -> None:
    """Unknown fields are ignored, missing ones have their defaults, each its own."""
    shape = shape_of(Trade)
    one, other = (shape.decode({**GOOD, "invented": "later"}) for _ in range(2))
    assert one == Trade("A", NOW, Side.BUY, [])
    assert one.tags == {}
    assert one.tags is not other.tags


def test_numbers_as_type_checkers_take_them() -> None:
    """An int for a float, a bool for an int; no float for an int."""
    shape = shape_of(Leg)
    assert shape.decode({"px": 3, "size": True}) == Leg(3, True)
    with pytest.raises(TypeMismatch):
        shape.decode({"px": 3, "size": 1.0})
    with pytest.raises(TypeMismatch):  # an IntEnum would arrive as another class
        shape.encode(Leg(1.0, Level.LOW))


def test_other_languages_have_arrays_alone() -> None:
    """A list is taken for a tuple and for a set."""
    trade = shape_of(Trade).decode({**GOOD, "pair": [1, "a"], "many": [{"px": 1.0}], "ids": [1, 1]})
    assert (trade.pair, trade.many, trade.ids) == ((1, "a"), (Leg(1.0),), {1})


def test_an_instance_that_arrives_is_taken() -> None:
    """Of a sender that has registered the class and said no type."""
    leg = Leg(1.0)
    assert shape_of(Leg).decode(leg) is leg


def test_a_subclass_is_refused() -> None:
    """What it adds would be lost on the way."""

    @dataclass(frozen=True)
    class More(Leg):
        extra: int = 0

    with pytest.raises(TypeMismatch, match="expected Leg, not More"):
        shape_of(Leg).encode(More(1.0))


def test_a_check_of_its_own_counts() -> None:
    """What __post_init__ refuses does not fit."""

    @dataclass
    class Positive:
        n: int

        def __post_init__(self) -> None:
            if self.n <= 0:
                raise ValueError(f"{self.n} is not positive")

    shape = shape_of(Positive)
    assert shape.decode({"n": 1}) == Positive(1)
    for _ in range(2):
        with pytest.raises(TypeMismatch, match="-1 is not positive"):
            shape.decode({"n": -1})


def test_fields_by_keyword_alone() -> None:
    """And fields that no one gives."""

    @dataclass
    class Point:
        x: int
        _: KW_ONLY
        y: int
        norm: int = field(init=False, default=0)

    shape = shape_of(Point)
    for _ in range(2):
        assert shape.decode(shape.encode(Point(1, y=2))) == Point(1, y=2)


def test_a_field_that_was_deleted_is_a_misfit() -> None:
    """An instance with slots may lack a value."""

    @dataclass
    class Two:
        a: int
        b: int

    two = Two(1, 2)
    del two.b
    with pytest.raises(TypeMismatch, match="b"):
        shape_of(Two).encode(two)


@dataclass
class Empty:
    pass


@pytest.mark.parametrize(
    ("kind", "value", "plain"),
    [
        (Empty, Empty(), {}),
        (int, 3, 3),
        (list[Leg], [Leg(1.0)], [{"px": 1.0, "size": 1}]),
        (dict[Side, Leg], {Side.BUY: Leg(1.0)}, {"buy": {"px": 1.0, "size": 1}}),
        (Sequence[int], (1, 2), (1, 2)),
        (Sequence[Side], [Side.BUY], ["buy"]),
        (Mapping[str, Leg], {"a": Leg(1.0)}, {"a": {"px": 1.0, "size": 1}}),
        (decimal.Decimal, decimal.Decimal("1.5"), decimal.Decimal("1.5")),
        (uuid.UUID, uuid.UUID(int=1), uuid.UUID(int=1)),
        (datetime.date, datetime.date(2026, 1, 1), datetime.date(2026, 1, 1)),
        (None, None, None),
        (list, [1, "a"], [1, "a"]),
        (dict, {"a": 1}, {"a": 1}),
        (complex, 1.5, 1.5),
    ],
)
def test_types_that_are_no_dataclasses(kind: Any, value: Any, plain: Any) -> None:
    """Whatever annotations can say."""
    shape = shape_of(kind)
    assert shape.encode(value) == plain
    assert shape.decode(plain) == value
    assert type(shape.decode(plain)) is type(value)


def test_arrays_are_values() -> None:
    """NumPy's arrays and scalars travel as they are."""
    np = pytest.importorskip("numpy")

    @dataclass
    class Reading:
        at: float
        samples: np.ndarray  # type: ignore[name-defined]

    shape = shape_of(Reading)
    for _ in range(2):
        got = shape.decode(shape.encode(Reading(np.float64(1.5), np.arange(3))))
        assert (got.at, list(got.samples)) == (1.5, [0, 1, 2])


def test_shape_and_dtype_of_an_array_are_not_checked() -> None:
    """Whatever array there is fits; what is none does not."""
    np = pytest.importorskip("numpy")
    shape = shape_of(np.ndarray)
    for array in (np.zeros((2, 3)), np.arange(4, dtype="i2"), np.array(["a", "bc"])):
        got = shape.decode(shape.encode(array))
        assert (got.dtype, got.tolist()) == (array.dtype, array.tolist())
    with pytest.raises(TypeMismatch):
        shape.encode([0.0])


@dataclass
class Other:
    px: float


@dataclass
class Ambiguous:
    leg: Leg | Other


@dataclass
class StringOrSide:
    side: Side | str


@dataclass
class Hashed:
    legs: set[Leg]


@dataclass
class Keyed:
    legs: dict[Leg, int]


@dataclass
class Initial:
    n: int
    seed: InitVar[int]


@dataclass
class Named:
    what: "Nowhere"  # type: ignore[name-defined] # noqa: F821


@dataclass
class Enumerated:
    side: Literal[Side.BUY]


class Proto(typing.Protocol):
    def send(self) -> None: ...


@dataclass
class OfProtocol:
    what: Proto


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Ambiguous, r"Ambiguous\.leg: Leg and Other look the same"),
        (StringOrSide, r"StringOrSide\.side: Side and str look the same"),
        (Hashed, r"Hashed\.legs: Leg travels as what can be no key"),
        (Keyed, r"Keyed\.legs: Leg travels as what can be no key"),
        (Initial, r"Initial\.seed: an InitVar"),
        (Named, "Nowhere"),
        (Enumerated, r"Enumerated\.side"),
        (OfProtocol, r"OfProtocol\.what"),
        (typing.Callable[[int], int], "codec="),  # type: ignore[list-item]
        (typing.TypeVar("T"), "codec="),
    ],
)
def test_types_that_cannot_be_told_apart_are_refused_at_once(kind: Any, said: str) -> None:
    """When the type is said, and not with some message later; the text names the field."""
    with pytest.raises(TypeError, match=said):
        shape_of(kind)

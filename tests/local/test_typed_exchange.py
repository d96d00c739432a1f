"""Exchanges with a type: the same object, checked at the sender, converted at the edges alone."""

import asyncio
import datetime
import dis
import enum
import logging
import numbers
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, TypedDict

import pytest

from zexchange import Exchange, ExchangeError, Registry, WrongType, get_exchange, register
from zexchange.local import Delivery
from zexchange.local.parking import Bridge

ORIGIN = "ab" * 16
NOP = dis.opmap["NOP"]


@dataclass(frozen=True)
class Trade:
    sym: str
    px: float
    size: int = 1


class Carrier:
    """A bridge that lists what it is given."""

    inherits = True
    packed = None

    def __init__(self) -> None:
        self.got: list[object] = []
        self.kept: list[object] = []

    def send(self, msg: object, /) -> None:
        self.got.append(msg)

    def prepare(self, kept: Sequence[tuple[object, float]], /) -> object:
        return [msg for msg, _ in kept]

    def inherit(self, prepared: Any, /) -> None:
        self.kept += prepared


class Watcher:
    """An observer of the registry that hears of what was refused."""

    def __init__(self, registry: Registry) -> None:
        self.refused: list[tuple[str, str, int | None, str, str]] = []
        registry._observe(self)  # type: ignore[arg-type]

    def message_refused(
        self, exchange: Exchange[Any], origin: str, seq: int | None, reason: str, detail: str
    ) -> bool:
        self.refused.append((exchange.name, origin, seq, reason, detail))
        if seq is not None:
            exchange._report(("lost", seq))  # type: ignore[arg-type]
        return True

    def __getattr__(self, name: str) -> Any:
        return lambda *args: None


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def trades(registry: Registry) -> Exchange[Trade]:
    return registry.get("trades", type=Trade)


# ------------------------------------------------------------------------------ the object


def test_the_same_name_is_the_same_object(registry: Registry) -> None:
    """Whoever asked first, with a type or without; tasks attached before stay."""
    plain = registry.get("trades")
    got: list[Any] = []
    plain.handler(got.append)
    assert plain.type is None
    typed = registry.get("trades", type=Trade)
    assert typed is plain
    assert typed is registry.get("trades", type=Trade) is registry.get("trades")
    assert plain.type is Trade
    typed.send(Trade("A", 1.0))
    assert got == [Trade("A", 1.0)]


def test_another_type_in_the_same_process_is_an_error(
    registry: Registry, trades: Exchange[Trade]
) -> None:
    """The text names both."""

    @dataclass
    class Quote:
        px: float

    with pytest.raises(ValueError, match=r"'trades' has the type Trade .* Quote"):
        registry.get("trades", type=Quote)
    assert trades.type is Trade


CELL = """
from dataclasses import dataclass

@dataclass
class Tick:
    px: float

class Doubled:
    def encode(self, msg):
        return msg * 2

    def decode(self, plain):
        return plain / 2

ticks = registry.get("ticks", type=Tick)
lists = registry.get("lists", type=dict[str, list[Tick]] | None)
twice = registry.get("twice", type=float, codec=Doubled())
"""


def test_a_definition_that_is_carried_out_again_takes_the_place_of_the_first(
    registry: Registry,
) -> None:
    """As a notebook's cell does it, and a module that is reloaded."""
    first: dict[str, Any] = {"__name__": "__main__", "registry": registry}
    exec(CELL, first)
    again = {"__name__": "__main__", "registry": registry}
    exec(CELL, again)
    assert first["Tick"] is not again["Tick"]
    assert again["ticks"] is first["ticks"]
    bridge = Carrier()
    again["ticks"]._attach_bridge(bridge)
    with again["ticks"].record() as got:
        again["ticks"].send(again["Tick"](1.0))
        again["ticks"]._deliver([{"px": 2.0}], ORIGIN, 1, 0.0)
    assert got == [again["Tick"](1.0), again["Tick"](2.0)]
    assert bridge.got == [{"px": 1.0}]
    again["lists"].send({"a": [again["Tick"](1.0)]})
    with again["twice"].record() as got:
        again["twice"]._deliver([3.0], ORIGIN, 1, 0.0)
    assert got == [1.5]
    with pytest.raises(WrongType, match="another class Tick, which was defined before"):
        again["ticks"].send(first["Tick"](1.0))


def test_what_was_kept_before_its_type_was_defined_again_still_travels(
    registry: Registry,
) -> None:
    """As it would have, for those who come late."""
    registry.retain("ticks", 5)
    cell: dict[str, Any] = {"__name__": "__main__", "registry": registry}
    exec(CELL, cell)
    cell["ticks"].send(cell["Tick"](1.0))
    exec(CELL, cell)
    cell["ticks"].send(cell["Tick"](2.0))
    bridge = Carrier()
    cell["ticks"]._attach_bridge(bridge)
    assert bridge.kept == [{"px": 1.0}, {"px": 2.0}]


def test_a_codec_stays_where_a_type_is_defined_again_without_one(registry: Registry) -> None:
    """And a class of the same name of another module is told apart."""
    space: dict[str, Any] = {"__name__": "__main__", "registry": registry}
    exec(CELL, space)
    pair = Shifted(1.0)
    exchange = registry.get("pairs", type=space["Tick"], codec=pair)
    exec(CELL, space)
    assert registry.get("pairs", type=space["Tick"])._declared.declared["codec"] is pair
    assert exchange.type is space["Tick"]
    elsewhere: dict[str, Any] = {"__name__": "shop", "registry": Registry()}
    exec(CELL, elsewhere)
    with pytest.raises(ValueError, match=r"has the type __main__\.Tick .* cannot have shop\.Tick"):
        registry.get("pairs", type=elsewhere["Tick"])


def test_a_type_without_a_codec_is_an_error_and_changes_nothing(registry: Registry) -> None:
    """It is said at once."""
    with pytest.raises(TypeError, match="codec"):
        registry.get("x", type=Callable[[int], int])  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="which type"):
        registry.get("x", codec=Celsius())  # type: ignore[call-overload]
    assert registry.get("x").type is None


def test_threads_that_say_the_type_together(registry: Registry) -> None:
    """All get the one object, with the one type."""
    found: list[object] = []
    start = threading.Barrier(8)

    def say() -> None:
        start.wait()
        found.append(registry.get("trades", type=Trade))

    threads = [threading.Thread(target=say) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 8
    assert set(map(id, found)) == {id(registry.get("trades"))}


def test_get_exchange_takes_a_type() -> None:
    """The face of the default registry."""
    trades = get_exchange("test_typed.trades", type=Trade)
    assert trades.type is Trade
    assert trades is get_exchange("test_typed.trades")


def test_an_exchange_without_a_type_has_no_part_in_it(registry: Registry) -> None:
    """Its only task is called by its own `send`, with nothing in between."""
    plain, task = registry.get("x"), Carrier()
    plain.attach(task)
    plain.send(1)
    assert plain._only == task.send
    registry.get("x", type=int).send(2)
    assert plain._only != task.send
    assert task.got == [1, 2]


# ------------------------------------------------------------------------------ sending


def test_local_tasks_get_the_very_object_and_bridges_a_plain_dict(
    registry: Registry, trades: Exchange[Trade]
) -> None:
    """What travels needs no class of anybody's; views of this process see the object, too."""
    bridge, trade = Carrier(), Trade("A", 1.0)
    trades._attach_bridge(bridge)
    with trades.record() as got, registry.match("**").stream() as view:
        trades.send(trade)
        assert view.get(0) is trade
    assert got[0] is trade
    assert bridge.got == [{"sym": "A", "px": 1.0, "size": 1}]


@pytest.mark.parametrize(
    ("msg", "said"),
    [
        ({"sym": "A", "px": 1.0}, "exchange 'trades' takes Trade: msg: expected Trade, not dict"),
        (Trade("A", "1"), r"msg\.px: expected float, not str"),  # type: ignore[arg-type]
        (None, "expected Trade, not None"),
    ],
)
def test_what_does_not_fit_is_an_error_for_the_sender_and_nobody_gets_it(
    trades: Exchange[Trade], msg: Any, said: str
) -> None:
    """Whether anybody remote listens or not."""
    bridge = Carrier()
    with trades.record() as got:
        with pytest.raises(WrongType, match=said) as caught:
            trades.send(msg)
        trades._attach_bridge(bridge)
        with pytest.raises(WrongType, match=said):
            trades.send(msg)
    assert got == bridge.got == []
    assert trades.stats().errors == 0, "no task has failed"
    assert not hasattr(caught.value, "__notes__")
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, ExchangeError)


def test_it_is_converted_once_however_many_bridges(registry: Registry) -> None:
    """And again only where a message is sent on, as another type."""
    celsius = Celsius()
    warm = registry.get("warm", type=float, codec=celsius)
    bridges = [Carrier(), Carrier()]
    for bridge in bridges:
        warm._attach_bridge(bridge)
    warm.send(20.0)
    assert celsius.encoded == 1
    assert [bridge.got for bridge in bridges] == [[293.15]] * 2


def test_a_message_sent_by_a_task_does_not_disturb_the_one_being_sent(
    registry: Registry, trades: Exchange[Trade]
) -> None:
    """The very object, on another exchange that carries it in another form."""

    class Brief:
        def encode(self, msg: Trade, /) -> object:
            return msg.sym

        def decode(self, plain: Any, /) -> Trade:
            return Trade(plain, 0.0)

    symbols = registry.get("symbols", type=Trade, codec=Brief())
    one, other = Carrier(), Carrier()
    symbols._attach_bridge(one)

    class SendsOn:
        """First of the bridges: as a finaliser or a signal handler may."""

        packed = None

        def send(self, msg: object, /) -> None:
            symbols.send(trade)

        prepare, inherit = other.prepare, other.inherit

    trade = Trade("A", 1.0)
    trades._attach_bridge(SendsOn())
    trades._attach_bridge(other)
    trades.send(trade)
    assert one.got == ["A"]
    assert other.got == [{"sym": "A", "px": 1.0, "size": 1}]


def test_a_send_that_was_looked_up_before_still_reaches_bridges_plain(registry: Registry) -> None:
    """The type came between; what does not fit is an error then, too."""
    exchange, bridge = registry.get("trades"), Carrier()
    send = exchange.send
    registry.get("trades", type=Trade)
    exchange._attach_bridge(bridge)
    send(Trade("A", 1.0))
    with pytest.raises(WrongType):
        send("nothing of the kind")
    assert bridge.got == [{"sym": "A", "px": 1.0, "size": 1}]


def test_a_message_sent_on_by_a_send_looked_up_before_travels_as_its_exchange_says(
    registry: Registry, trades: Exchange[Trade]
) -> None:
    """The same object on two exchanges whose codecs differ: each has its own plain value."""

    class Symbol:
        def encode(self, trade: Trade, /) -> object:
            return trade.sym

        def decode(self, plain: Any, /) -> Trade:
            return Trade(plain, 0.0)

    symbols, here, there = registry.get("symbols"), Carrier(), Carrier()
    trades.handler(symbols.send)
    registry.get("symbols", type=Trade, codec=Symbol())
    trades._attach_bridge(here)
    symbols._attach_bridge(there)
    trades.send(Trade("A", 1.0))
    assert here.got == [{"sym": "A", "px": 1.0, "size": 1}]
    assert there.got == ["A"]


@pytest.mark.parametrize("by_pattern", [False, True])
def test_an_exchange_that_was_attached_before_it_had_a_type_refuses_what_does_not_fit(
    registry: Registry, by_pattern: bool
) -> None:
    """The sender hears of it, the tasks of the one in front get it, those behind do not."""
    front, behind = registry.get("front"), registry.get("trades")
    source = registry.match("front.**") if by_pattern else front
    source.attach(behind)
    front.send("before")
    trades = registry.get("trades", type=Trade)
    with front.record() as all_of_them, trades.record() as fitting:
        with pytest.raises(WrongType):
            front.send("nothing of the kind")
        front.send(Trade("A", 1.0))
    assert all_of_them == ["nothing of the kind", Trade("A", 1.0)]
    assert fitting == [Trade("A", 1.0)]
    source.detach(behind)


@pytest.mark.parametrize("retained", [0, 5])
def test_a_task_that_sends_what_does_not_fit_is_told_so(registry: Registry, retained: int) -> None:
    """At once, though what fits waits for the end of the round."""
    registry.retain("numbers", retained)
    numbers, told, got = registry.get("numbers", type=int), list[str](), list[int]()

    @numbers.handler
    def answers(number: int) -> None:
        if number == 1:
            numbers.send(2)
            try:
                numbers.send("three")  # type: ignore[arg-type]
            except WrongType as error:
                told.append(str(error))

    numbers.handler(got.append)
    numbers.send(1)
    assert told == ["exchange 'numbers' takes int: msg: expected int, not str"]
    assert got == [1, 2]
    assert numbers.stats().errors == 0


def test_a_lone_tasks_error_is_named_and_counted(trades: Exchange[Trade]) -> None:
    """As without a type."""

    @trades.handler
    def fails(trade: Trade) -> None:
        raise WrongType("of its own")

    with pytest.raises(WrongType, match="of its own") as caught:
        trades.send(Trade("A", 1.0))
    assert "fails" in caught.value.__notes__[0]
    assert trades.stats().errors == 1


def test_a_bridges_error_still_comes_last(registry: Registry, trades: Exchange[Trade]) -> None:
    """Behind those of the tasks, as without a type."""

    class Fails(Carrier):
        def send(self, msg: object, /) -> None:
            raise OSError("bridge")

    trades._attach_bridge(Fails())

    @trades.handler
    def fails(trade: Trade) -> None:
        raise ValueError("task")

    with pytest.raises(ExceptionGroup) as caught:
        trades.send(Trade("A", 1.0))
    assert [str(error) for error in caught.value.exceptions] == ["task", "bridge"]


def test_what_is_kept_for_late_joiners_is_plain_for_others(registry: Registry) -> None:
    """Also what was kept before anybody remote was there, or before there was a type."""
    registry.retain("trades", 5)
    registry.get("trades").send("from before")
    trades = registry.get("trades", type=Trade)
    trade = Trade("A", 1.0)
    trades.send(trade)
    bridge = Carrier()
    trades._attach_bridge(bridge)
    assert bridge.kept == ["from before", {"sym": "A", "px": 1.0, "size": 1}]
    with trades.stream(history=1) as late:
        assert late.get(0) is trade


# ------------------------------------------------------------------------------ arriving


def test_what_arrives_is_made_an_instance(trades: Exchange[Trade]) -> None:
    """For every task, and with its number for those who want it."""
    with trades.record() as got, trades.stream(details=True) as detailed:
        trades._deliver([{"sym": "A", "px": 1.0}, {"sym": "B", "px": 2.0}], ORIGIN, 5, 1.5)
        assert detailed.get(0) == Delivery("trades", Trade("A", 1.0), ORIGIN, 5, 1.5)
        assert detailed.get(0) == Delivery("trades", Trade("B", 2.0), ORIGIN, 6, 1.5)
    assert got == [Trade("A", 1.0), Trade("B", 2.0)]


def test_what_does_not_fit_reaches_no_task_and_is_reported_in_its_place(
    registry: Registry, trades: Exchange[Trade]
) -> None:
    """The others of its batch do, with their own numbers."""
    watcher = Watcher(registry)
    good = {"sym": "A", "px": 1.0}
    with trades.record() as got, trades.stream(details=True) as detailed:
        trades._deliver([good, 3, good, {"sym": "A"}], ORIGIN, 5, 1.5)
        seen: list[Any] = [detailed.get(0) for _ in range(4)]
    assert got == [Trade("A", 1.0)] * 2
    assert [getattr(item, "seq", item) for item in seen] == [5, ("lost", 6), 7, ("lost", 8)]
    takes = "exchange 'trades' takes Trade"
    assert watcher.refused == [
        ("trades", ORIGIN, 6, takes, "msg: expected Trade, not int"),
        ("trades", ORIGIN, 8, takes, "msg.px: missing, and it has no default"),
    ]


@pytest.mark.parametrize("others", [0, 1])
def test_a_type_that_is_said_in_the_middle_of_a_batch_counts_for_the_rest_of_it(
    registry: Registry, others: int
) -> None:
    """Whoever is attached from then on gets instances alone, numbered as they were sent."""
    watcher, got, exchange = Watcher(registry), list[object](), registry.get("trades")

    def says(plain: object) -> None:
        exchange.detach(says)
        registry.get("trades", type=Trade).handler(got.append)

    exchange.handler(says)
    for _ in range(others):
        exchange.handler(lambda trade: None)
    good = {"sym": "A", "px": 1.0}
    exchange._deliver([good, good, 3, good], ORIGIN, 5, 1.5)
    assert got == [Trade("A", 1.0)] * 2
    assert [seq for _, _, seq, _, _ in watcher.refused] == [7]


@pytest.mark.parametrize("kind", [RuntimeError, SystemExit, asyncio.CancelledError])
def test_a_codec_that_fails_in_any_way_stops_nobody(
    registry: Registry, kind: type[BaseException]
) -> None:
    """Its error is the reason; without anybody to tell, it is logged."""

    class Breaks(Celsius):
        def decode(self, plain: Any, /) -> float:
            raise kind("broken")

    registry.get("warm", type=float, codec=Breaks())._deliver([1.0], ORIGIN, 1, 0.0)
    watcher = Watcher(registry)
    registry.get("warm")._deliver([1.0], ORIGIN, 1, 0.0)
    assert watcher.refused[0][4] == "broken"
    history = [Delivery("warm", 1.0, ORIGIN, 1, 0.0)]
    assert registry.get("warm")._rebuilt(history) == []


def test_what_is_said_of_a_message_is_bounded(registry: Registry) -> None:
    """Whatever it holds: that came from outside."""
    nested = registry.get("nested", type=dict[str, list[dict[str, int]]])
    watcher = Watcher(registry)
    nested._deliver([{"k" * 100_000: [{"j" * 100_000: "x" * 100_000}]}], ORIGIN, 1, 0.0)
    assert len(watcher.refused[0][4]) <= 300


def test_what_nobody_claims_is_logged(
    trades: Exchange[Trade], caplog: pytest.LogCaptureFixture
) -> None:
    """No message goes without a word."""
    with caplog.at_level(logging.WARNING, logger="zexchange"):
        trades._deliver([3], ORIGIN, 7, 0.0)
    assert "message 7" in caplog.text
    assert "expected Trade, not int" in caplog.text


def test_history_is_rebuilt_as_well(registry: Registry, trades: Exchange[Trade]) -> None:
    """And refused as well."""
    watcher = Watcher(registry)
    kept = [Delivery("trades", {"sym": "A", "px": 1.0}, ORIGIN, 1, 0.0)]
    kept.append(Delivery("trades", "old", ORIGIN, 2, 0.0))
    assert [d.msg for d in trades._rebuilt(kept)] == [Trade("A", 1.0)]
    assert [(seq, said) for _, _, seq, _, said in watcher.refused] == [
        (None, "msg: expected Trade, not str")
    ]
    assert registry.get("plain")._rebuilt(kept) is kept


# ------------------------------------------------------------------------------ codecs


class Celsius:
    """A codec of one's own: kelvin travel."""

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, msg: float, /) -> object:
        self.encoded += 1
        return msg + 273.15

    def decode(self, plain: Any, /) -> float:
        if plain < 0:
            raise ValueError(f"{plain} K is below zero")
        return float(plain) - 273.15


class Shifted:
    """Adds what it was made with."""

    def __init__(self, by: float) -> None:
        self._by = by

    def encode(self, msg: float, /) -> object:
        return msg + self._by

    def decode(self, plain: Any, /) -> float:
        return float(plain) - self._by


def test_a_codec_of_ones_own(registry: Registry) -> None:
    """Two functions; what they raise names the exchange."""
    warm = registry.get("warm", type=float, codec=Celsius())
    watcher = Watcher(registry)
    with warm.record() as got:
        warm._deliver([273.15, -1.0], ORIGIN, 1, 0.0)
    assert got == [0.0]
    assert watcher.refused[0][4] == "-1.0 K is below zero"
    with pytest.raises(WrongType, match="'warm' takes float"):
        warm.send("hot")  # type: ignore[arg-type]
    assert registry.get("warm", type=float, codec=Celsius()) is warm  # it does the same
    with pytest.raises(ValueError, match="another codec"):
        registry.get("warm", type=float, codec=Shifted(32.0))


class Side(enum.Enum):
    BUY = "buy"


NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)


def library(name: str) -> tuple[Any, Any]:
    """Return a model of a library, and one it has inside."""
    if name == "msgspec":
        msgspec = pytest.importorskip("msgspec")

        class Leg(msgspec.Struct):  # type: ignore[name-defined, misc]
            px: float

        class Order(msgspec.Struct):  # type: ignore[name-defined, misc]
            sym: str
            at: datetime.datetime
            side: Side
            legs: list[Leg]
            note: str | None = None

        return Order, Leg
    pydantic = pytest.importorskip("pydantic")

    class Part(pydantic.BaseModel):  # type: ignore[name-defined, misc]
        px: float

    class Model(pydantic.BaseModel):  # type: ignore[name-defined, misc]
        sym: str
        at: datetime.datetime
        side: Side
        legs: list[Part]
        note: str | None = None

    if name == "pydantic":
        return Model, Part
    fields = {"sym": str, "at": datetime.datetime, "side": Side, "legs": list[Part]}
    made = type("Made", (), {"__annotations__": {**fields, "note": str | None}, "note": None})
    return pydantic.dataclasses.dataclass(made), Part


@pytest.mark.parametrize("name", ["msgspec", "pydantic", "pydantic.dataclasses"])
def test_models_of_other_libraries(registry: Registry, name: str) -> None:
    """The same rules: plain outside, checked both ways, defaults, unknown fields ignored."""
    if "." in name:
        pytest.importorskip(name)
    Order, Leg = library(name)  # noqa: N806
    orders: Exchange[Any] = registry.get("orders", type=Order)
    watcher, bridge = Watcher(registry), Carrier()
    orders._attach_bridge(bridge)
    order = Order(sym="A", at=NOW, side=Side.BUY, legs=[Leg(px=1.0)])
    orders.send(order)
    plain = {"sym": "A", "at": NOW, "side": "buy", "legs": [{"px": 1.0}], "note": None}
    assert bridge.got == [plain]
    with orders.record() as got:
        orders._deliver([plain, {**plain, "invented": 1}], ORIGIN, 1, 0.0)
        del plain["note"]
        orders._deliver([plain, {**plain, "legs": [{"px": "much"}]}, {}, 3], ORIGIN, 3, 0.0)
    assert got == [order] * 3
    assert [refused[2] for refused in watcher.refused] == [4, 5, 6]
    assert "px" in watcher.refused[0][4]
    wrong = Order(sym="A", at=NOW, side=Side.BUY, legs=[Leg(px=1.0)])
    wrong.sym = 3
    with pytest.raises(WrongType, match="sym"):
        orders.send(wrong)
    with pytest.raises(WrongType, match="not dict"):
        orders.send(plain)
    assert len(bridge.got) == 1


def test_what_pydantic_has_of_its_own_travels_as_text(registry: Registry) -> None:
    """Addresses and paths have no form of their own on the wire; they come back as they were."""
    pydantic = pytest.importorskip("pydantic")

    class Page(pydantic.BaseModel):  # type: ignore[name-defined, misc]
        url: pydantic.HttpUrl  # type: ignore[name-defined]
        file: Path

    pages: Exchange[Any] = registry.get("pages", type=Page)
    bridge = Carrier()
    pages._attach_bridge(bridge)
    page = Page(url="https://example.org/a", file=Path("/a/b"))
    pages.send(page)
    assert bridge.got == [{"url": "https://example.org/a", "file": "/a/b"}]
    with pages.record() as got:
        pages._deliver(bridge.got, ORIGIN, 1, 0.0)
    assert got == [page]


class Point(NamedTuple):
    x: int


class Opts(TypedDict):
    x: int


@dataclass
class Holds:
    inside: list[Path]


@pytest.mark.parametrize("kind", [Point, Opts, Holds, Path, Fraction, OrderedDict, threading.Event])
def test_what_cannot_be_sent_is_refused_when_the_type_is_said(
    registry: Registry, kind: Any
) -> None:
    """And not once a second process runs; the text says what to do."""
    with pytest.raises(TypeError, match=r"cannot be sent: register .* or give a codec="):
        registry.get("x", type=kind)
    assert registry.get("x").type is None


def test_abstract_classes_of_what_can_be_sent_are_types(registry: Registry) -> None:
    """Of registered ones as well."""

    class Shape:
        pass

    class Circle(Shape):
        pass

    register(Circle, lambda circle: None, lambda plain: Circle(), name="tests.Circle")
    for number, kind in enumerate((Circle, Shape, numbers.Number, Sequence, object)):
        registry.get(f"x{number}", type=kind)


def pydantic_models() -> dict[str, tuple[Any, Any]]:
    """Return messages by what is peculiar to them, with what travels; None: they are refused."""
    pydantic: Any = pytest.importorskip("pydantic")
    Base, Field = pydantic.BaseModel, pydantic.Field  # noqa: N806

    class Alias(Base):  # type: ignore[misc]
        n: int = Field(default=0, alias="orderNumber")

    class Validated(Base):  # type: ignore[misc]
        n: int = Field(validation_alias="in", serialization_alias="out")

    class Computed(Base, extra="forbid"):  # type: ignore[misc]
        n: int

        @pydantic.computed_field  # type: ignore[prop-decorator, untyped-decorator]
        @property
        def double(self) -> int:
            return 2 * self.n

    class Text(Base):  # type: ignore[misc]
        n: pydantic.Json[list[int]]  # type: ignore[name-defined]

    class Strict(Base, strict=True):  # type: ignore[misc]
        n: float

    class Excluded(Base):  # type: ignore[misc]
        n: int = Field(default=0, exclude=True)

    class Secret(Base):  # type: ignore[misc]
        n: pydantic.SecretStr  # type: ignore[name-defined]

    class Other(Base):  # type: ignore[misc]
        n: int

        @pydantic.field_serializer("n")  # type: ignore[untyped-decorator]
        def write(self, n: int) -> int:
            return n + 1

    return {
        "alias": (Alias(orderNumber=7), {"n": 7}),
        "validation alias": (Validated(**{"in": 7}), {"n": 7}),
        "computed": (Computed(n=7), {"n": 7}),
        "json": (Text(n="[7]"), {"n": "[7]"}),
        "strict": (Strict(n=7.5), {"n": 7.5}),
        "nan": (Strict(n=float("nan")), None),
        "excluded": (Excluded(n=7), None),
        "secret": (Secret(n="7"), None),
        "serializer": (Other(n=7), None),
    }


REFUSED = ["excluded", "secret", "serializer"]
PECULIAR = ["alias", "validation alias", "computed", "json", "strict", "nan", *REFUSED]


@pytest.mark.parametrize("peculiar", PECULIAR)
def test_a_pydantic_model_arrives_equal_or_is_refused(registry: Registry, peculiar: str) -> None:
    """At the sender, whoever has the very same model takes what it sends."""
    msg, plain = pydantic_models()[peculiar]
    exchange: Exchange[Any] = registry.get("x", type=type(msg))
    bridge = Carrier()
    exchange._attach_bridge(bridge)
    if peculiar in REFUSED:
        with pytest.raises(WrongType, match="arrive as"):
            exchange.send(msg)
        assert bridge.got == []
        return
    exchange.send(msg)
    assert peculiar == "nan" or bridge.got == [plain]
    with exchange.record() as got:
        exchange._deliver(bridge.got, ORIGIN, 1, 0.0)
    assert repr(got) == repr([msg])


def test_a_pydantic_model_is_taken_by_its_aliases_as_well(registry: Registry) -> None:
    """As a process without the type may send it."""
    msg, _ = pydantic_models()["alias"]
    exchange: Exchange[Any] = registry.get("x", type=type(msg))
    with exchange.record() as got:
        exchange._deliver([{"orderNumber": 7}], ORIGIN, 1, 0.0)
    assert got == [msg]


def test_bridges_are_told_apart() -> None:
    """A carrier that is detached gets nothing any more."""
    registry = Registry()
    trades = registry.get("trades", type=Trade)
    one: Bridge = Carrier()
    two = Carrier()
    trades._attach_bridge(one)
    trades._attach_bridge(two)
    trades._detach_bridge(one)
    trades.send(Trade("A", 1.0))
    assert one.got == []  # type: ignore[attr-defined]
    assert len(two.got) == 1


def interrupted_send(exchange: Exchange[int], step: int) -> int:
    """Send, with a Ctrl-C before a step of the round; return how many steps there were so far.

    Not where nothing is done: CPython looks at signals when it jumps back, and after calls.
    """
    steps = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal steps
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode" and frame.f_code.co_name == "convert":
            steps += frame.f_code.co_code[frame.f_lasti] != NOP
            if steps == step:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        exchange.send(1)
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    return steps


def test_an_interrupt_between_two_tasks_robs_one_at_most() -> None:
    """As on an exchange without a type: the others are served, wherever Ctrl-C comes."""
    exchange = Registry().get("x", type=int)
    got: list[int] = []
    for n in range(3):
        exchange.handler(lambda msg, n=n: got.append(n))  # type: ignore[misc]
    step = 1
    while interrupted_send(exchange, step) >= step:
        assert len(got) in (0, 2, 3), f"step {step}"
        got.clear()
        step += 1
    assert got == [0, 1, 2]


class Broken:
    """A codec with a fault."""

    def encode(self, msg: object) -> object:
        raise AttributeError("a fault of the codec")

    def decode(self, plain: object) -> object:
        return plain


@pytest.mark.parametrize("tasks", [0, 1, 2])
def test_an_error_of_a_codec_is_not_one_of_a_task(tasks: int) -> None:
    """It is raised as it is, without a note that names a task, and counted at none."""
    exchange: Exchange[Any] = Registry().get("x", type=int, codec=Broken())
    for _ in range(tasks):
        exchange.handler(lambda msg: None)
    with pytest.raises(AttributeError, match="a fault of the codec") as caught:
        exchange.send(1)
    assert not any("task" in note for note in getattr(caught.value, "__notes__", ()))
    assert exchange.stats().errors == 0

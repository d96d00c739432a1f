"""Typed exchanges across nodes: instances here, a dict between, what each process said there."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest

from tests.net.conftest import Joiner, collect
from tests.support import eventually
from zexchange import Exchange, Lost, Registry, Rejected, WrongType

pytestmark = pytest.mark.sockets


@dataclass(frozen=True)
class Leg:
    px: float


@dataclass(frozen=True)
class Trade:
    sym: str
    legs: tuple[Leg, ...] = ()


@dataclass(frozen=True)
class LaterTrade:
    """What the next version of the program has."""

    sym: str
    legs: tuple[Leg, ...] = ()
    venue: str = "X"


TRADE = Trade("A", (Leg(1.0), Leg(2.0)))


def typed(registry: Registry, kind: Any = Trade) -> Exchange[Any]:
    return registry.get("trades", type=kind)


def test_each_process_gets_what_it_said(join: Joiner) -> None:
    """Typed ones instances of their own class, untyped ones the dict, the sender's the object."""
    node, here = join()
    _, same = join()
    _, later = join()
    _, untyped = join()
    mine = collect(here, "trades")
    trades = typed(here)
    typed(same)
    typed(later, LaterTrade)
    got = [collect(registry, "trades") for registry in (same, later, untyped)]
    node.wait_subscribers("trades", 3)
    trades.send(TRADE)
    node.flush()
    assert mine[0] is TRADE
    assert got[0] == [TRADE]
    assert got[1] == [LaterTrade("A", (Leg(1.0), Leg(2.0)), "X")]
    assert got[2] == [{"sym": "A", "legs": ({"px": 1.0}, {"px": 2.0})}]


def test_a_struct_is_a_dict_to_who_has_no_type(
    join: Joiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It becomes bytes at once, and an instance at once: with and without a type it is the same."""
    msgspec = pytest.importorskip("msgspec")
    quote = msgspec.defstruct("Quote", [("sym", str), ("px", float), ("lots", int, 1)])
    node, here = join()
    _, same = join()
    _, untyped = join()
    quotes = typed(here, quote)
    typed(same, quote)
    got, plain = collect(same, "trades"), collect(untyped, "trades")
    mine = collect(here, "trades")
    node.wait_subscribers("trades", 2)
    codec = type(quotes._declared.codec)  # type: ignore[union-attr]
    monkeypatch.setattr(codec, "encode", None)  # by way of a dict nothing would leave
    monkeypatch.setattr(codec, "decode", None)
    sent = [quote(str(n), n) for n in range(100)]
    for msg in sent:
        quotes.send(msg)
    node.flush()
    assert mine == got == sent
    assert plain == [{"sym": str(n), "px": n, "lots": 1} for n in range(100)]


def test_a_struct_that_does_not_fit_leaves_not(join: Joiner) -> None:
    """Neither what bytes cannot say, nor what they would say otherwise."""
    msgspec = pytest.importorskip("msgspec")
    quote = msgspec.defstruct("Quote", [("sym", str)])
    node, here = join()
    _, there = join()
    got = collect(there, "trades")
    node.wait_subscribers("trades", 1)
    quotes = typed(here, quote)
    quotes.send(quote("A"))
    for wrong, found in ((1, "int"), (date(2026, 1, 1), "date")):
        with pytest.raises(WrongType, match=rf"Expected `str`, got `{found}` - at `\$\.sym`"):
            quotes.send(quote(wrong))
    node.flush()
    assert got == [{"sym": "A"}]


def test_a_struct_in_two_federations(join: Joiner) -> None:
    """One bridge encodes for both, from the dict."""
    msgspec = pytest.importorskip("msgspec")
    quote = msgspec.defstruct("Quote", [("sym", str)])
    both = Registry()
    got: list[list[Any]] = []
    nodes = [join(name, registry=both)[0] for name in ("one", "two")]
    for name in ("one", "two"):
        _, there = join(name)
        got.append(collect(there, "trades"))
    quotes = typed(both, quote)
    for node in nodes:
        node.wait_subscribers("trades", 1)
    quotes.send(quote("A"))
    for node in nodes:
        node.flush()
    assert got == [[{"sym": "A"}]] * 2


def test_a_newer_sender_is_understood(join: Joiner) -> None:
    """Fields that are not known here are ignored."""
    node, here = join()
    _, there = join()
    typed(there)
    got = collect(there, "trades")
    node.wait_subscribers("trades", 1)
    typed(here, LaterTrade).send(LaterTrade("A", (), "Y"))
    node.flush()
    assert got == [Trade("A")]


def test_what_does_not_fit_is_rejected_where_it_arrives(join: Joiner) -> None:
    """No task gets it, an event and a count say so, streams with details show where it was."""
    node, here = join()
    other, there = join()
    events: list[object] = []
    other.events.handler(events.append)
    stream = typed(there).stream(details=True)
    got = collect(there, "trades")
    node.wait_subscribers("trades", 1)
    trades = here.get("trades")
    sent = [{"sym": "A"}, {"sym": 1}, {"sym": "B"}, "no trade", {"sym": "C"}]
    for msg in sent:
        trades.send(msg)
    node.flush()
    assert got == [Trade("A"), Trade("B"), Trade("C")]
    reason = "exchange 'trades' takes Trade"
    eventually(lambda: other.stats().rejected.get((node.id, reason)) == 2)
    eventually(lambda: [event for event in events if isinstance(event, Rejected)])
    rejected = next(event for event in events if isinstance(event, Rejected))
    assert (rejected.source, rejected.reason) == (node.id, reason)
    assert rejected.detail == "msg.sym: expected str, not int"
    seen: list[Any] = [stream.get(10) for _ in range(5)]
    assert [getattr(item, "seq", None) or item.first for item in seen] == [1, 2, 3, 4, 5]
    assert [type(item) is Lost for item in seen] == [False, True, False, True, False]
    assert "expected str, not int" in seen[1].reason
    # The data thread goes on, and says so of what it was given: the sums add up.
    assert other.stats().received["trades", node.id].received == 5
    assert node.stats().sent_to["trades", other.id].sent == 5


def test_a_flood_of_what_does_not_fit_is_counted(join: Joiner) -> None:
    """Each of them, and the good ones between come through."""
    node, here = join()
    other, there = join()
    typed(there)
    got = collect(there, "trades")
    node.wait_subscribers("trades", 1)
    for n in range(20_000):
        here.get("trades").send({"sym": str(n)} if n % 100 == 0 else n)
    node.flush(30)
    assert got == [Trade(str(n)) for n in range(0, 20_000, 100)]
    reason = "exchange 'trades' takes Trade"
    eventually(lambda: other.stats().rejected.get((node.id, reason)) == 19_800)


def test_a_sender_hears_of_its_own_mistake(join: Joiner) -> None:
    """Nothing leaves."""
    node, here = join()
    _, there = join()
    got = collect(there, "trades")
    node.wait_subscribers("trades", 1)
    trades = typed(here)
    with pytest.raises(WrongType, match=r"msg\.legs\[0\]: expected Leg, not int"):
        trades.send(Trade("A", (1,)))  # type: ignore[arg-type]
    trades.send(TRADE)
    node.flush()
    assert len(got) == 1


def test_late_joiners_get_instances_too(join: Joiner) -> None:
    """What was kept by others, and what does not fit of that is rejected as well."""
    _, here = join(retain={"trades": 10})
    for msg in ({"sym": "A"}, "no trade", {"sym": "B"}):
        here.get("trades").send(msg)
    other, there = join()
    stream = typed(there).stream(history=10)
    here.get("trades").send({"sym": "C"})
    assert [stream.get(10) for _ in range(3)] == [Trade("A"), Trade("B"), Trade("C")]
    eventually(lambda: other.stats().rejected)
    stream.close()


def test_what_was_kept_of_a_typed_exchange_comes_as_plain(join: Joiner) -> None:
    """Kept before there was a node, as objects of this process."""
    registry = Registry()
    registry.retain("trades", 3)
    typed(registry).send(TRADE)
    join(registry=registry)
    _, there = join()
    with there.get("trades").stream(history=3) as stream:
        assert stream.get(10) == {"sym": "A", "legs": ({"px": 1.0}, {"px": 2.0})}


def test_a_node_that_did_not_bring_it_does_not_count_it(join: Joiner) -> None:
    """Two federations share a registry: the one it came by says what was wrong."""
    both = Registry()
    one, _ = join("one", registry=both)
    two, _ = join("two", registry=both)
    sender, here = join("one")
    typed(both)
    got = collect(both, "trades")
    sender.wait_subscribers("trades", 1)
    here.get("trades").send(3)
    here.get("trades").send({"sym": "A"})
    sender.flush()
    assert got == [Trade("A")]
    eventually(lambda: one.stats().rejected)
    assert not two.stats().rejected

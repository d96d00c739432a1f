"""What flows from node to node: all that is given is divided among those that sent it."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zexchange.protocol.traffic.counts import Counts
from zexchange.protocol.traffic.flows import Flow, flows_of
from zexchange.protocol.traffic.table import Told, TrafficTable
from zexchange.protocol.wire.messages import Counted, ExchangeCount

A, B, C = b"a" * 16, b"b" * 16, b"c" * 16
Rows = dict[str, tuple[int, int]]


def told(node: bytes, rows: Rows, lost: int = 0) -> Told:
    """What a node has told by two looks, a second apart: so much sent and received on each."""
    table, counts = TrafficTable(b"m" * 16, "**", count(1)), Counts()
    counts.begin()
    counts.take([ExchangeCount("from before", 1)], 1.0)
    for at in (1.0, 2.0):
        if at == 2.0:
            changed = [ExchangeCount(name, s, 0, r, lost) for name, (s, r) in rows.items()]
            counts.take([ExchangeCount("from before", 1), *changed], at)
        asked = table.look(node, 0.0)
        assert asked is not None
        part, more = counts.part(lambda name: True, asked.began, asked.look, "")
        table.take(node, Counted(node, asked.request, counts.began, counts.look, at, part, more), 0)
    return table.told[node]


def flows(nodes: dict[bytes, Rows], listening: dict[str, tuple[bytes, ...]], lost: int = 0):
    found = flows_of(
        {node: told(node, rows, lost) for node, rows in nodes.items()},
        lambda name: tuple(node.hex() for node in listening.get(name, ())),
    )
    return {(bytes.fromhex(f.sender), bytes.fromhex(f.listener)): f for f in found}


def test_with_one_sender_a_flow_is_what_the_listener_was_given() -> None:
    """Not what was sent: of a conflated exchange some is passed over."""
    found = flows({A: {"x": (100, 0)}, B: {"x": (0, 70)}}, {"x": (B,)})
    assert found == {(A, B): Flow(A.hex(), B.hex(), 1, 0, 70.0)}


def test_several_senders_share_what_was_given() -> None:
    """In proportion to what they sent; a sender that listens has nothing from itself."""
    nodes: dict[bytes, Rows] = {A: {"x": (30, 10)}, B: {"x": (10, 30)}, C: {"x": (0, 40)}}
    found = flows(nodes, {"x": (A, B, C)})
    rates = {pair: flow.messages_per_second for pair, flow in found.items()}
    assert rates == {(A, B): 30.0, (B, A): 10.0, (A, C): 30.0, (B, C): 10.0}


def test_a_listener_that_does_not_tell_is_taken_to_be_given_all() -> None:
    """A node of an earlier version counts nothing."""
    found = flows({A: {"x": (5, 0), "y": (7, 0)}}, {"x": (B,), "y": (B, C)})
    assert found[A, B].messages_per_second == 12.0
    assert found[A, B].exchanges == 2
    assert found[A, C].messages_per_second == 7.0


def test_losses_are_those_that_the_listener_reports() -> None:
    """On exchanges on which the sender has sent."""
    found = flows({A: {"x": (5, 0)}, B: {"x": (0, 3)}}, {"x": (B,)}, lost=2)
    assert found[A, B].lost == 2


def test_an_idle_flow_is_there_without_a_rate() -> None:
    """It has sent, and the other listens; nothing flows now."""
    assert flows({A: {}, B: {}}, {"from before": (A, B)})[A, B].messages_per_second == 0.0


amounts = st.integers(0, 1000)


@given(st.dictionaries(st.sampled_from("xyz"), st.lists(amounts, min_size=3, max_size=3)))
def test_all_that_is_given_flows_from_somewhere(sent: dict[str, list[int]]) -> None:
    """The flows to a node add up to what it was given by others."""
    nodes: dict[bytes, Rows] = {A: {}, B: {}, C: {}}
    for name, amounts_of in sent.items():
        for node, amount in zip(nodes, amounts_of, strict=True):
            nodes[node][name] = amount, sum(amounts_of) - amount
    found = flows(nodes, dict.fromkeys(sent, (A, B, C)))
    for node, rows in nodes.items():
        flowing = sum(f.messages_per_second for (_, to), f in found.items() if to == node)
        assert flowing == pytest.approx(sum(given for _, given in rows.values()))

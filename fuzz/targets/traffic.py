"""What nodes tell of their traffic, true or not: a table takes answers in any order.

The bytes are a script: looks begin, answers come with made-up numbers, names and counts, nodes
leave. The table must stay within its limits, and what it shows must be computed.
"""

from collections.abc import Iterator
from itertools import count
from math import isfinite

from zexchange.protocol.traffic.table import TrafficTable
from zexchange.protocol.traffic.traffic import Member, traffic_of
from zexchange.protocol.wire import messages as v

from ..bounds import require
from .built_values import Choices

MAX_LEN = 200
ME, NODES = bytes(16), (b"a" * 16, b"b" * 16)
NUMBERS = (0, 1, 2, 3, 5, 100, 2**32, 2**63, 2**64 - 1)
NAMES = ("", "a", "a.b", "b", "z", "é")
MOMENTS = (0.0, 1.0, 1.0, 1.5, 2.0, 1e9)


def seeds() -> Iterator[bytes]:
    """Yield scripts: answers as a whole and in parts, of another counting, and late."""
    look, again, left = bytes([0, 0]), bytes([2]), bytes([3, 0])
    whole = bytes([1, 0, 0, 1, 1, 1, 0, 2, 1, 3, 3, 2, 4, 4])
    part = bytes([1, 0, 0, 1, 1, 1, 1, 1, 1, 3, 3])
    other = bytes([1, 0, 0, 2, 1, 2, 0, 1, 1, 2, 2])
    yield look + whole + look + whole
    yield look + part + part + whole + again + look + other
    yield look + part + other + part + other + look
    yield look + whole + left + whole + look + again


def execute(data: bytes) -> None:
    """Carry out a script."""
    s, now = Choices(data), 0.0
    table = TrafficTable(ME, "**", count(1))
    asked: dict[bytes, v.Count] = {}
    while s.left:
        step, node = s.take() % 4, NODES[s.take() % 2]
        now += 0.3
        if step == 0:
            question = table.look(node, now)
        elif step == 1:
            question = table.take(node, _answer(s, node, asked.get(node)), now)
        elif step == 2:
            asked.update(table.due(now))
            question = None
        else:
            table.leave(node)
            question = None
        if question is not None:
            asked[node] = question
        _shown(table)


def _answer(s: Choices, node: bytes, asked: v.Count | None) -> v.Counted:
    request = asked.request if asked and s.take() % 8 else s.take()
    began, look, at = s.take() % 4, NUMBERS[s.take() % 9], MOMENTS[s.take() % 6]
    more = NAMES[s.take() % 6]
    rows = [
        v.ExchangeCount(NAMES[1 + s.take() % 5], NUMBERS[s.take() % 9], NUMBERS[s.take() % 9])
        for _ in range(s.take() % 4)
    ]
    return v.Counted(node, request, began, look, at, tuple(rows), more)


def _shown(table: TrafficTable) -> None:
    members = [Member(node, v.Label("h", 1), 0.0, True, True) for node in NODES]
    found = traffic_of(members, table.told, lambda name: ())
    require(len(found.exchanges) <= len(NAMES), "names that nobody told")
    for row in (*found.exchanges, *found.nodes):
        rate = row.messages_per_second
        require(rate is None or (isfinite(rate) and rate >= 0), row)
    require(table.nodes() <= set(NODES), "nodes that nobody looked at")

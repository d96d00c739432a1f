"""The content of each view of the page, as values for JSON. The code is pure.

All text is made here, and is safe to show: a browser only puts it into the page as text. Names of
exchanges come twice, as they are shown and as they are.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from .... import Diagnosis, ExchangeTraffic, InvalidName, NodeTraffic, Traffic
from ....display.diagnosis import candidates, facts, findings, peers
from ....display.tables import EXCHANGES, NODES, Names, amount, ordered
from ....display.text import printable
from ....names import check_key, is_pattern, matches
from ....protocol.traffic.flows import Flow
from .asked import Asked
from .looks import Look
from .samples import Sample

ROWS = 100
"""Exchanges that are shown at a time."""
FLOWS_MOST = 300
"""Flows that the map has; of more, those with the largest rates."""
NODES_MOST = 300
"""Nodes that the map has."""
NAMED = 3
"""Nodes that are named in a cell of the table; the others are counted."""
TAIL_MOST = 20
"""Messages of a live tail that are sent at a time."""
COLUMNS = tuple(column.title.capitalize() for column in EXCHANGES)
NAMING = ("SENDERS", "LISTENERS")
"""Columns that have names of nodes, and not their number as on a terminal."""
MEANING = {
    "MSG/S": "messages sent in a second",
    "BYTES/S": "bytes of the frames that left the senders in a second",
    "SENDERS": "nodes that have sent on it",
    "LISTENERS": "nodes that have tasks for it",
    "LOST": "messages that receivers have reported as lost",
    "UNACKED": "messages that wait: the slowest receiver has not acknowledged them",
    "SLOWEST": "that receiver",
    "GIVEN/S": "messages that tasks of other nodes were given in a second",
    "SKIPPED": "messages that a newer one replaced",
    "MESSAGES": "messages since the senders were started",
}
Told = dict[str, Any]
"""An object of JSON."""


class NodeNames(Names):
    """The names of nodes; the one that only looks is the page itself."""

    def __init__(self, look: Look) -> None:
        super().__init__(look.traffic.nodes)
        self._hidden = look.hidden

    def __call__(self, node: str) -> str:
        """Return the name of a node."""
        return "this page" if node == self._hidden else super().__call__(node)

    def some(self, nodes: Sequence[str]) -> str:
        """Return the names of a few nodes, and how many more there are."""
        more = f" +{len(nodes) - NAMED}" if len(nodes) > NAMED else ""
        return ", ".join(map(self, nodes[:NAMED])) + more or "–"


def summary(traffic: Traffic) -> Told:
    """Return what stands above every view."""
    rates = [e.messages_per_second for e in traffic.exchanges]
    known = [rate for rate in rates if rate is not None]
    return {
        "nodes": len(traffic.nodes),
        "silent": sum(not node.answered for node in traffic.nodes),
        "exchanges": len(rates),
        "rate": amount(sum(known)) if known or not rates else "–",
        "lost": sum(e.lost for e in traffic.exchanges),
    }


def map_view(look: Look) -> Told:
    """Return nodes, and what flows between them."""
    names, shown = NodeNames(look), look.traffic.nodes[:NODES_MOST]
    there = {node.id for node in shown}
    flows = [f for f in look.flows if f.sender in there and f.listener in there]
    lost: dict[str, int] = {}
    for flow in flows:  # of several senders each has the same losses
        lost[flow.listener] = max(lost.get(flow.listener, 0), flow.lost)
    return {
        "nodes": [_node(node, names, lost.get(node.id, 0)) for node in shown],
        "flows": [_flow(flow, names) for flow in flows[:FLOWS_MOST]],
        "more_flows": max(0, len(flows) - FLOWS_MOST),
        "more_nodes": len(look.traffic.nodes) - len(shown),
    }


def _node(node: NodeTraffic, names: Names, lost: int) -> Told:
    cells = {column.title: column.cell(node, amount, names) for column in NODES}
    return {
        "id": node.id,
        "name": names(node.id),
        "out": cells["MSG/S"],
        "in": cells["GIVEN/S"],
        "lost": lost,
        "slow": bool(node.slow_peers),
        "facts": [
            ["process", cells["PROCESS"]],
            ["sends", f"{cells['MSG/S']} msg/s, {cells['BYTES/S']} bytes/s"],
            ["is given", f"{cells['GIVEN/S']} msg/s"],
            ["window", f"{cells['WINDOW']} in use, waited {cells['WAITED']}"],
            ["slow", f"{node.slow_tasks} tasks, {len(node.slow_peers)} peers"],
            ["rejected", cells["REJECTED"]],
            ["state", cells["STATE"]],
            ["since", cells["SINCE"]],
        ],
        "state": cells["STATE"],
    }


def _flow(flow: Flow, names: Names) -> Told:
    return {
        "from": flow.sender,
        "to": flow.listener,
        "names": [names(flow.sender), names(flow.listener)],
        "rate": round(flow.messages_per_second, 3),
        "shown": amount(flow.messages_per_second),
        "exchanges": flow.exchanges,
        "lost": flow.lost,
    }


def chosen(traffic: Traffic, filter_: str) -> list[ExchangeTraffic]:
    """Return the exchanges that a pattern covers, or whose names have a part.

    Raises:
        InvalidName: it is a pattern, and malformed.
    """
    if not filter_:
        return list(traffic.exchanges)
    if is_pattern(filter_):
        pattern = check_key(filter_)
        return [e for e in traffic.exchanges if matches(pattern, e.name)]
    part = filter_.casefold()
    return [e for e in traffic.exchanges if part in e.name.casefold()]


def exchanges_view(look: Look, asked: Asked) -> Told:
    """Return a page of the table of exchanges."""
    names, fault = NodeNames(look), ""
    try:
        rows = chosen(look.traffic, asked.filter)
    except InvalidName as error:
        rows, fault = [], printable(str(error))
    sort = min(asked.sort, len(EXCHANGES) - 1)
    rows = ordered(rows, EXCHANGES[sort])
    if asked.turned:
        rows.reverse()
    first = asked.first if asked.first < len(rows) else 0
    return {
        "columns": [
            {
                "title": title,
                "left": c.left or c.title in NAMING,
                "meaning": MEANING.get(c.title, ""),
            }
            for title, c in zip(COLUMNS, EXCHANGES, strict=True)
        ],
        "sort": sort,
        "turned": asked.turned,
        "rows": [_row(e, names) for e in rows[first : first + ROWS]],
        "first": first,
        "found": len(rows),
        "fault": fault,
    }


def _row(e: ExchangeTraffic, names: NodeNames) -> Told:
    cells = {column.title: column.cell(e, amount, names) for column in EXCHANGES}
    cells["SENDERS"], cells["LISTENERS"] = names.some(e.senders), names.some(e.listeners)
    return {"name": e.name, "cells": list(cells.values()), "lost": bool(e.lost)}


def exchange_view(look: Look, name: str) -> Told:
    """Return what there is to say of one exchange, beside its messages."""
    names = NodeNames(look)
    row = next((e for e in look.traffic.exchanges if e.name == name), None)
    told: Told = {"name": name, "title": printable(name), "there": row is not None}
    if row is None:
        return {**told, "rate": 0.0, "figures": [], "senders": [], "listeners": []}
    figures = [
        (column.title.capitalize(), column.cell(row, amount, names), MEANING.get(column.title, ""))
        for column in EXCHANGES
        if column.title not in ("EXCHANGE", *NAMING)
    ]
    return {
        **told,
        "rate": row.messages_per_second,
        "figures": figures,
        "lost": bool(row.lost),
        "senders": [names(node) for node in row.senders[:NODES_MOST]],
        "listeners": [names(node) for node in row.listeners[:NODES_MOST]],
    }


def tail_view(look: Look | None, sample: Sample, after: int, now: float) -> tuple[Told, int]:
    """Return the messages of a sample after a number, how many are left out, and the sizes.

    Returns:
        The object, and the number of the newest message in it.
    """
    names = NodeNames(look) if look else None
    fresh = [one for one in sample.shown(now) if one.number > after][-TAIL_MOST:]
    newest = fresh[-1].number if fresh else after
    lines = [
        {
            "at": f"{datetime.fromtimestamp(one.sent_at):%H:%M:%S.%f}"[:-3],
            "from": "here" if one.origin is None else names(one.origin) if names else "",
            "size": "–" if one.size is None else bytes_of(one.size),
            "text": one.text,
        }
        for one in fresh
    ]
    told = {"lines": lines, "skipped": newest - after - len(fresh), "lost": sample.lost}
    return {**told, "sizes": distribution(sample)}, newest


def distribution(sample: Sample) -> list[tuple[str, int]]:
    """Return the sizes of the messages that were looked at, from the smallest to the largest."""
    if not sample.sizes:
        return []
    used = range(min(sample.sizes), max(sample.sizes) + 1)
    edges = [0, *[1 << power for power in used]]
    return [
        (f"≤ {bytes_of(most)}", sample.sizes[power])
        for power, (_, most) in zip(used, pairwise(edges), strict=True)
    ]


def bytes_of(size: int) -> str:
    """Return a number of bytes in powers of 1024, as sizes are sorted by them."""
    shown = float(size)
    for unit in ("B", "KiB", "MiB"):
        if shown < 1024:
            return f"{shown:.0f} {unit}" if unit == "B" or shown >= 10 else f"{shown:.1f} {unit}"
        shown /= 1024
    return f"{shown:.1f} GiB"


def doctor_view(found: Diagnosis) -> Told:
    """Return a diagnosis, as `zexchange doctor` prints it."""
    return {
        "healthy": found.healthy,
        "conclusion": printable(found.conclusion),
        "findings": findings(found, ""),
        "facts": facts(found),
        "tables": [table for table in (candidates(found), peers(found)) if len(table) > 1],
    }

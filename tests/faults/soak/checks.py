"""Whether the accounts of a soak add up: what receivers have, and what senders say they sent.

What is sent while its sender knows nobody who wants it is for nobody (docs/RELIABILITY.md), and
has no number. The steady receiver wants everything, so that this may only be while a sender
does not know it: such times are read from the sender's own events.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from tests.faults.ledger import pairs
from zexchange.names import matches

from .actors import Actor
from .plan import Step
from .roles import NAMES

Row = tuple[float, str, dict[str, Any]]
Span = tuple[float, float]
BEFORE, BEHIND = 2.0, 5.0
"""Seconds by which an event may be told late, and until a peer that has joined is in force."""
STEADY = "steady"


def wrong(
    reports: dict[str, Any],
    lives: Sequence[Actor],
    rows: Sequence[Row],
    steps: Sequence[Step],
    begun: float,
) -> list[str]:
    """Return everything that does not hold."""
    found = [f"{who}: {what['fault']}" for _, who, what in rows if "fault" in what]
    senders = [actor for actor in lives if actor.role == "sender"]
    spans = {actor.name: list(alone(actor, rows, steps, begun)) for actor in senders}
    found += _doubts(rows, spans)
    ids = {actor.label: actor.id for actor in lives}  # the last of a label is the living one
    names = {actor.label: actor.name for actor in lives}
    for label, report in reports.items():
        if "own" in report:
            continue
        found += [f"{label}: {text}" for text in _receiver(report)]
        for sender in {actor.label for actor in senders if report["federations"] == 1}:
            for text in _pair(reports[sender], report, names[sender], ids[label]):
                found.append(f"{label} of {sender}: {text}")
    return found


def alone(
    sender: Actor, rows: Sequence[Row], steps: Sequence[Step], begun: float
) -> Iterator[Span]:
    """Yield when a sender did not know the steady receiver."""
    known: set[str] = set()
    since = 0.0
    stops = [s for s in steps if s.whom in (sender.label, STEADY) and s.harm in ("stop", "kill")]
    for at, who, what in rows:
        if who != sender.name or what.get("who", "").split(".")[0] != STEADY:
            continue
        if what["event"] == "PeerJoined":
            if not known:
                yield since, _stretched(at + BEHIND, stops, begun, 1)
            known.add(what["peer"])
        elif what["event"] == "PeerLeft":
            known.discard(what["peer"])
            if not known:
                since = _stretched(at - BEFORE, stops, begun, -1)
    if not known:
        yield since, float("inf")


def _stretched(at: float, stops: Sequence[Step], begun: float, direction: int) -> float:
    """Return a moment, moved by the stops about it: nothing was done meanwhile."""
    about = [s for s in stops if s.at - BEHIND <= at - begun <= s.until + BEHIND]
    return at + direction * sum(s.span for s in about)


def _doubts(rows: Sequence[Row], lonely: dict[str, list[Span]]) -> Iterator[str]:
    """Yield the doubts of receivers about senders that were not alone then."""
    for _, who, what in rows:
        if doubt := what.get("doubt"):
            spans = lonely.get(doubt["source"], [])
            if not any(a <= doubt["until"] and b >= doubt["since"] for a, b in spans):
                yield f"{who}: {doubt['what']} of {doubt['source']}, not alone: {doubt}"


def _receiver(report: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong in one receiver's own accounts."""
    if report["dropped"]:
        yield f"{report['dropped']} dropped by its own streams"
    if report["federations"] > 1:
        return  # each counts what it carried; the streams have it all
    told = {(o, n, first, last) for o, n, first, last in report["lost"]}
    for book in report["books"]:
        for name, source, _, _, losses, _ in book["sheets"]:
            mine = [(source, name, first, last) for first, last in pairs(losses)]
            if unknown := [loss for loss in mine if loss not in told]:
                yield f"{book['key']} was told {unknown}, and no event of it came"
            if book["lasting"] and len(mine) != _count(report["lost"], source, name):
                yield f"{book['key']}: {mine}, events {report['lost']}"
    yield from _own_stats(report)


def _count(lost: Sequence[Sequence[Any]], source: str, name: str) -> int:
    return sum(o == source and n == name for o, n, _, _ in lost)


def _own_stats(report: dict[str, Any]) -> Iterator[str]:
    """Yield where a node's own sums are not those of its lasting streams, and of its events."""
    stats = {(name, source): (received, lost) for name, source, received, lost in report["stats"]}
    for book in report["books"]:
        if book["lasting"]:
            for name, source, received, lost, _, _ in book["sheets"]:
                said = stats.get((name, source))
                if said != (received, lost):
                    yield f"{name} of {source}: stats {said}, came {received}, lost {lost}"
    for (name, source), (_, lost) in stats.items():
        events = sum(z - a + 1 for o, n, a, z in report["lost"] if (o, n) == (source, name))
        if events != lost:
            yield f"{name} of {source}: {lost} lost by its stats, {events} by its events"


def _pair(sent: dict[str, Any], came: dict[str, Any], sender: str, receiver: str) -> Iterator[str]:
    """Yield where the sums of both ends differ."""
    lasting = [book["key"] for book in came["books"] if book["lasting"]]
    sums = {n: (received, lost) for n, o, received, lost in came["stats"] if o == sender}
    for name, peer, count, unacknowledged in sent["sent_to"]:
        if peer != receiver:
            continue
        received, lost = sums.get(name, (0, 0))
        total, covered = received + lost, any(matches(key, name) for key in lasting)
        if total > count or (covered and total != count):
            yield f"{name}: sent_to {count}, received {received}, lost {lost}"
        if covered and unacknowledged:
            yield f"{name}: {unacknowledged} of {count} unacknowledged"
    for book in came["books"]:
        for name, source, _, _, _, unnumbered in book["sheets"]:
            if source == sender and book["lasting"] and book["open"] and name in sent["sent"]:
                said = sent["own"][name] - sent["sent"][name]
                # Behind the last message that came of a name there may be some for nobody.
                if said < unnumbered or (said > unnumbered and name in NAMES):
                    yield f"{name}: {unnumbered} came without a number, {said} were sent so"

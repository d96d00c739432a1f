"""The loads that `speed.py` compares two commits by: each takes a slice of a pair of processes."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec


class LostError(Exception):
    """A slice lost or repeated something, or a process ended; the text says which."""


@dataclass(frozen=True)
class Load:
    """One thing that is measured.

    Attributes:
        rate: what takes a slice of a pair, of so many units, and returns a rate: more is better.
        units: of a slice of the usual length, where that is not found out; else 0.
        warmed: whether a quarter of a slice is thrown away first.
    """

    rate: Callable
    units: int = 0
    warmed: bool = True


def local(tasks):
    """Return a load: sends inside a process."""
    return Load(lambda pair, count: 1 / pair.sender.ask("local", tasks=tasks, count=count))


def flood(payload, burning=False, names=("flood",)):
    """Return a load: one sends as fast as it can to one other, on one name or many in turn."""

    def rate(pair, count):
        pair.receiver.ask("expect", goal=count)
        load = {"payload": payload, "count": count, "burning": burning, "names": names}
        start = pair.sender.ask("flood", **load)
        got, came = pair.receiver.ask("came")
        if got != count:
            raise LostError(f"sent {count} of {payload}, received {got}")
        return count / (came - start)

    return Load(rate)


def trips(pair, count):
    """Ask and answer: as many a second as the median trip allows."""
    return 1 / pair.sender.ask("trips", count=count)


def requests(pair, count):
    """Make requests: as many a second as the median one allows."""
    return 1 / pair.sender.ask("requests", count=count)


def aged(units, name, receiver_burns=False, **given):
    """Return a load: how long messages are under way, by the median.

    Args:
        units: messages of a slice.
        name: the method of the sender.
        receiver_burns: whether a thread of the receiver's process computes meanwhile.
        given: what else the method is given.
    """

    def rate(pair, count):
        pair.receiver.ask("clock", burning=receiver_burns)
        pair.sender.ask(name, count=count, **given)
        got, median = pair.receiver.ask("clocked", goal=count)
        if got != count:
            raise LostError(f"sent {count} at a rate, received {got}")
        return 1 / median

    return Load(rate, units)


def first(pair, count):
    """Send at 1,000 a second beside a burner, as nodes that have just met; by the slowest in 100.

    A node learns how long a send takes, so each slice has a federation of its own.
    """
    federation = f"first-{next(NUMBERS)}"
    pair.receiver.ask("meet", federation=federation)
    slowest = pair.sender.ask("first", federation=federation, rate=1000, count=count)
    pair.receiver.ask("part")
    return 1 / slowest


def at_rest(nodes):
    """Return a load: the processor that a node takes which neither sends nor hears anything.

    All of its peers are in its process, which is ended with the slice: they take some, too.
    """

    def rate(pair, milliseconds):
        with pair.apart("crowd") as crowd:
            crowd.ask("gather", nodes=nodes)
            taken = crowd.ask("rest", seconds=milliseconds / 1000) / nodes
        return 1 / max(taken, 1e-6)

    return Load(rate, 1000, warmed=False)


NUMBERS = itertools.count()
MANY = tuple(f"many.{n}" for n in range(100))
LOADS = {
    **{f"local {tasks}": local(tasks) for tasks in (0, 1, 10, 100)},
    "flood": flood("dict"),
    "flood by a burner": flood("dict", burning=True),
    "structs": flood("struct", names=("structs",)),
    "100 exchanges": flood("dict", names=MANY),
    "round trip": Load(trips),
    "request": Load(requests),
    **{payload: flood(payload) for payload in ("1 KiB", "64 KiB", "1 MiB")},
    "first 400 by a burner": Load(first, 400, warmed=False),
    "one way by a burner 1k": aged(300, "paced", rate=1000, burning=True),
    "one way by a burner 5k": aged(1000, "paced", rate=5000, burning=True),
    "one way, computing on": aged(25, "oneway"),
    "heard by a burner 5k": aged(1000, "paced", True, rate=5000, burning=False),
    "at rest alone": at_rest(1),
    "at rest beside 19": at_rest(20),
}
NEEDS = {"structs": "msgspec"}
"""Packages that a load is skipped without."""

SINCE = {"request": "zexchange/questions.py"}
"""A file of the package that a load is skipped without, because the package cannot do it."""


def measurable(words=(), trees=()):
    """Return the loads that can be measured here, and in some trees.

    Args:
        words: of each, one is in its name; none is all.
        trees: the folders with the packages.
    """
    return [
        load
        for load in LOADS
        if any(word in load for word in words or [""])
        and (load not in NEEDS or find_spec(NEEDS[load]))
        and all((tree / SINCE[load]).exists() for tree in trees if load in SINCE)
    ]

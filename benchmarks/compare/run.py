"""A run: groups started, rounds interleaved, results in the order in which they come.

All contestants of a shape are up at the same time. In each round every workload of the
shape is carried out by each of them in turn, in an order that changes, so that a machine
that is slower for a while is so for all. It must not know what the figures mean.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby

from . import local
from .analysis import Table
from .contestants import CONTESTANTS
from .group import Group, GroupError
from .measures import ALONE, MEASURES, WARM_UPS, Figures
from .servers import Servers
from .values import Missing, Result, Shape, Size, Workload

Progress = Callable[[str], None]
FRESH: frozenset[Shape] = frozenset({"memory", "fresh"})
"""Shapes whose processes are good for one round."""
WHOLE = 2
"""Askings for everything; further ones are only for what is in two groups."""
AT_A_TIME = 3
"""Groups that start together: much of it is waiting."""


def missing() -> list[Missing]:
    """Return the peers that are not installed."""
    across = [Missing(name, c.remedy) for name, c in CONTESTANTS.items() if c.missing()]
    return [*across, *(Missing(name, remedy) for name, remedy in local.missing().items())]


def run(workloads: list[Workload], size: Size, progress: Progress) -> Iterator[Result]:
    """Carry out workloads, and yield the results of every round.

    Args:
        workloads: those of one shape one after the other.
        size: how much of everything.
        progress: is told what is going on.
    """
    with Servers() as servers:
        for shape, same in groupby(workloads, _shape_of):
            yield from _run_shape(shape, list(same), size, servers, progress)


def ask(
    workloads: list[Workload], size: Size, progress: Progress, askings: int
) -> Iterator[Result]:
    """Carry out workloads several times, each time with new processes, and yield all results.

    A process may be faster or slower for its whole life, so the first `WHOLE` times are of
    everything, and the others of the workloads in which somebody's rounds fall into two groups.
    """
    found: list[Result] = []
    for asking in range(askings):
        again = workloads
        if asking >= WHOLE:
            open_still = Table(found, workloads).in_two_groups()
            again = [workload for workload in workloads if workload.name in open_still]
        for result in run(again, size, _numbered(progress, asking)):
            found.append(replace(result, asking=asking))
            yield found[-1]


def _numbered(progress: Progress, asking: int) -> Progress:
    return lambda text: progress(f"asking {asking + 1}, {text}")


def _shape_of(workload: Workload) -> Shape:
    return workload.shape


def _run_shape(
    shape: Shape, workloads: list[Workload], size: Size, servers: Servers, progress: Progress
) -> Iterator[Result]:
    out: set[tuple[str, str]] = set()
    with Groups(shape, size, servers) as groups:
        names = sorted({name for w in workloads for name in takes_part(w)})
        progress(f"{shape}: starting {', '.join(names)}")
        groups.prepare(names)
        for number in range(-WARM_UPS if shape not in FRESH else 0, size.rounds):
            for workload in workloads:
                if workload.rounds and number >= workload.rounds:
                    continue
                if number < 0 and not workload.warm_up:
                    continue
                for name in _order(takes_part(workload), number):
                    if (workload.name, name) in out:
                        continue
                    progress(f"{workload.title}: {_which(number, size)}, {name}")
                    try:
                        figures = _measure(groups.get(name), workload, name)
                    except GroupError as error:
                        groups.drop(name)
                        out.add((workload.name, name))
                        yield Result(workload.name, name, max(number, 0), problem=str(error))
                        continue
                    if shape in FRESH:
                        groups.drop(name)
                    if number >= 0:
                        for who, found in figures.items():
                            yield Result(workload.name, who, number, found)


class Groups:
    """The groups of one shape, by contestant; one that has failed is started again."""

    def __init__(self, shape: Shape, size: Size, servers: Servers) -> None:
        self._servers = servers
        self._new: Callable[[str], Group] = lambda name: Group(name, shape, size, servers)
        self._groups: dict[str, Group] = {}

    def prepare(self, names: list[str]) -> None:
        """Start groups, some at a time; of one that does not, its first workload tells why."""
        for name in names:
            self._servers.address(CONTESTANTS[name].server, name)  # it ends with its thread
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            for future in [pool.submit(self.get, name) for name in names]:
                if not isinstance(future.exception(), GroupError):
                    future.result()

    def get(self, name: str) -> Group:
        """Return a group that is up.

        Raises:
            GroupError: it does not start.
        """
        if name not in self._groups:
            self._groups[name] = self._new(name)
        return self._groups[name]

    def drop(self, name: str) -> None:
        """End a group; the next to ask gets a fresh one."""
        if name in self._groups:
            self._groups.pop(name).close()

    def __enter__(self) -> "Groups":
        return self

    def __exit__(self, *reason: object) -> None:
        for name in list(self._groups):
            self.drop(name)


def takes_part(workload: Workload) -> list[str]:
    """Return who of those that it is for is able to do it, and installed."""
    return [
        name
        for name in workload.among
        if workload.measure in CONTESTANTS[name].measures and not CONTESTANTS[name].missing()
    ]


def _order(names: list[str], number: int) -> Iterable[str]:
    turn = number % max(len(names), 1)
    rotated = names[turn:] + names[:turn]
    return rotated if number % 2 else reversed(rotated)


def _which(number: int, size: Size) -> str:
    return "warm-up" if number < 0 else f"round {number + 1} of {size.rounds}"


def _measure(group: Group, workload: Workload, name: str) -> dict[str, Figures]:
    """Do a round; return the figures of each who took part in it."""
    alone = ALONE.get(workload.measure)
    return alone(group, workload) if alone else {name: MEASURES[workload.measure](group, workload)}

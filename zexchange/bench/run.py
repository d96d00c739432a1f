"""A run: groups started, rounds interleaved, results in the order in which they come.

All contestants of a shape are up at the same time. In each round every workload of the
shape is carried out by each of them in turn, in an order that changes, so that a machine
that is slower for a while is so for all. It must not know what the figures mean.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import groupby

from . import local
from .contestants import CONTESTANTS
from .group import Group, GroupError
from .measures import MEASURES, Figures
from .servers import Servers
from .values import Missing, Result, Shape, Size, Workload

Progress = Callable[[str], None]
FRESH: frozenset[Shape] = frozenset({"memory"})
"""Shapes whose processes are good for one round."""
WARM_UPS = 2


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
        for shape, same in groupby(workloads, lambda workload: workload.shape):
            yield from _run_shape(shape, list(same), size, servers, progress)


def _run_shape(
    shape: Shape, workloads: list[Workload], size: Size, servers: Servers, progress: Progress
) -> Iterator[Result]:
    names = sorted({name for w in workloads for name in takes_part(w)}, key=list(CONTESTANTS).index)
    groups: dict[str, Group] = {}
    with ExitStack() as stack:
        for name in names if shape not in FRESH else ():
            progress(f"{shape}: starting {name}")
            try:
                groups[name] = Group(name, shape, size, servers)
            except GroupError as error:
                yield from (Result(w.name, name, 0, problem=str(error)) for w in workloads)
            else:
                stack.callback(groups[name].close)
        for number in range(-WARM_UPS, size.rounds):
            for workload in workloads:
                for name in _order(takes_part(workload), number):
                    progress(f"{workload.title}: {_which(number, size)}, {name}")
                    if shape in FRESH:
                        yield from _fresh(workload, name, number, size, servers)
                    elif name in groups:
                        yield from _round(groups, workload, name, number)


def takes_part(workload: Workload) -> list[str]:
    """Return who is able to, and installed."""
    able = workload.among if workload.among is not None else tuple(CONTESTANTS)
    return [
        name
        for name in able
        if workload.measure in CONTESTANTS[name].measures and not CONTESTANTS[name].missing()
    ]


def _order(names: list[str], number: int) -> Iterable[str]:
    turn = number % max(len(names), 1)
    rotated = names[turn:] + names[:turn]
    return rotated if number % 2 else reversed(rotated)


def _which(number: int, size: Size) -> str:
    return "warm-up" if number < 0 else f"round {number + 1} of {size.rounds}"


def _fresh(
    workload: Workload, name: str, number: int, size: Size, servers: Servers
) -> Iterator[Result]:
    if number < 0:
        return
    try:
        group = Group(name, workload.shape, size, servers)
    except GroupError as error:
        yield Result(workload.name, name, number, problem=str(error))
        return
    groups = {name: group}
    try:
        yield from _round(groups, workload, name, number)
    finally:
        for left in groups.values():
            left.close()


def _round(
    groups: dict[str, Group], workload: Workload, name: str, number: int
) -> Iterator[Result]:
    """Do a round; who fails is out of this shape, and closed when all are."""
    try:
        figures = MEASURES[workload.measure](groups[name], workload)
    except GroupError as error:
        groups.pop(name).close()
        yield Result(workload.name, name, number, problem=str(error))
        return
    if number >= 0:
        yield from _results(workload, name, number, figures)


def _results(workload: Workload, name: str, number: int, figures: Figures) -> Iterator[Result]:
    if workload.measure == "local":  # one process, a figure for each who takes part
        for who, value in figures.items():
            yield Result(workload.name, who, number, {"time": value})
    else:
        yield Result(workload.name, name, number, figures)

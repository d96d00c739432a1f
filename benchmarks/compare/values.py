"""The values that flow through the benchmark, all frozen.

They must not know how anything is measured.
"""

from dataclasses import dataclass, field
from typing import Literal

Measure = Literal[
    "flood",
    "ping",
    "request",
    "loaded",
    "oneway",
    "paced",
    "burner",
    "heard",
    "first",
    "names",
    "local",
    "codec",
    "join",
    "memory",
    "cost",
]
Shape = Literal[
    "alone", "pair", "fresh", "fan-out", "fan-in", "names", "crowd", "join", "memory", "wide"
]


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything.

    Attributes:
        rounds: measured rounds of each contestant; a warm-up comes before.
        seconds: how long a round of a throughput or a paced measurement lasts, about.
        pings: round trips, and messages one way, in a round.
        fan: the receivers of a fan-out, the senders of a fan-in.
        nodes: how many processes join at once.
        names: how many exchange names.
        crowd: how many peers there are where there are many.
        burn: how many seconds a round beside a CPU burner lasts.
    """

    rounds: int = 5
    seconds: float = 0.4
    pings: int = 400
    fan: int = 8
    nodes: int = 32
    names: int = 100_000
    crowd: int = 64
    burn: float = 60.0


FULL = Size()
QUICK = Size(3, 0.2, 150, nodes=16, names=10_000, crowd=16, burn=5.0)
TINY = Size(1, 0.02, 5, fan=2, nodes=3, names=200, crowd=3, burn=0.02)


@dataclass(frozen=True, slots=True)
class Workload:
    """One thing that is measured.

    Attributes:
        name: short, for ``--only`` and the results.
        title: a line for people.
        shape: which processes there are, see `group.members`.
        measure: what they do, see `measures.py`.
        payload: what is sent, see `payloads.py`.
        bridged: whether the exchange is one of a federation in which nobody else is.
        figure: the figure of most interest: what the table, the ratios and plots show.
        unit: of that figure.
        topic: the exchange that is sent on.
        topics: how many exchanges are sent on in turn.
        rate: messages a second, where that is given; beside it, for round trips.
        tasks: how many tasks there are, for sends inside a process.
        rounds: how many at most, of what takes long; 0 is all.
        warm_up: whether there are rounds before those that count.
        among: the contestants.
    """

    name: str
    title: str
    shape: Shape
    measure: Measure
    payload: str = "dict"
    figure: str = "rate"
    unit: str = "msg/s"
    topic: str = "x"
    topics: int = 1
    rate: float = 0.0
    tasks: int = 0
    bridged: bool = False
    rounds: int = 0
    warm_up: bool = True
    among: tuple[str, ...] = ()

    @property
    def more_is_better(self) -> bool:
        """Whether a larger figure is the better one."""
        return self.unit == "msg/s"


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one round of one contestant; ``problem`` says why it gave nothing.

    ``asking`` counts how often everything was started again before, with new processes.
    """

    workload: str
    contestant: str
    round: int
    figures: dict[str, float] = field(default_factory=dict[str, float])
    problem: str = ""
    asking: int = 0


@dataclass(frozen=True, slots=True)
class Bar:
    """A goal of this project: a ratio to a peer's median, or a figure as such.

    Attributes:
        name: a line for people.
        workload: whose figures.
        against: the contestants that ours is compared with; the worst ratio counts. Empty
            for an absolute bar.
        limit: the ratio, ours to theirs, or the figure itself.
        least: whether ``limit`` is the least (else the most) that is good.
        stretch: the limit that would be better still, where one is set.
        figure: if it is not the workload's own.
        other: the workload of the other side, if it is another.
        ours: our contestant.
    """

    name: str
    workload: str
    against: tuple[str, ...]
    limit: float
    least: bool = True
    stretch: float | None = None
    figure: str = ""
    other: str = ""
    ours: str = "zexchange"


@dataclass(frozen=True, slots=True)
class Missing:
    """A peer that is not installed, and the command that would change that."""

    contestant: str
    remedy: str

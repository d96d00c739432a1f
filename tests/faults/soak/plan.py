"""What happens in a soak, and when: drawn from a seed before it begins, so that it can be replayed.

Pure: a plan knows names of processes and of relays, and no process.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LEAST, MOST = 0.1, 40.0
"""Seconds that a process is stopped for."""
EVERY = 1.5
"""Seconds from one fault to the next, on average."""
HARMS = {"stop": 5, "kill": 2, "cut": 5, "refuse": 4, "close": 3, "hold": 1}
"""What may happen, and how often beside the others."""


@dataclass(frozen=True, slots=True)
class Step:
    """One fault.

    Attributes:
        at: when it begins, in seconds from the start of the load.
        harm: one of `HARMS`.
        whom: the process, or the relays before it.
        span: how long it lasts, in seconds; of a kill, how long nobody follows.
        share: of the connections through the relays, how many are reset.
        parts: which of the relays: control, data, ...
    """

    at: float
    harm: str
    whom: str
    span: float = 0.0
    share: float = 1.0
    parts: tuple[int, ...] = ()

    @property
    def until(self) -> float:
        """When it is over."""
        return self.at + self.span

    def __str__(self) -> str:
        """Say what is done, for a timeline."""
        parts = f" of relays {','.join(map(str, self.parts))}" if self.parts else ""
        share = f", {self.share:.0%} of the connections" if self.parts else ""
        return f"{self.harm} {self.whom}{parts} for {self.span:.2f} s{share}"


def draw(
    chance: random.Random,
    seconds: float,
    mortal: Sequence[str],
    stoppable: Sequence[str],
    relayed: dict[str, int],
    harms: Mapping[str, int] = HARMS,
    every: float = EVERY,
) -> list[Step]:
    """Return the faults of so many seconds, in the order in which they begin.

    Args:
        chance: decides.
        seconds: after which all is healed.
        mortal: the processes that may be killed.
        stoppable: the processes that may be stopped.
        relayed: the processes that have relays before them, with how many.
        harms: what may happen, and how often beside the others.
        every: seconds from one fault to the next, on average.
    """
    steps: list[Step] = []
    busy: dict[str, float] = {}
    at = min(1.0, seconds / 10)
    longest = min(MOST, seconds / 3)
    while (at := at + chance.expovariate(1 / min(every, seconds / 8))) < seconds:
        (harm,) = chance.choices(list(harms), list(harms.values()))
        among = {"stop": stoppable, "kill": mortal}.get(harm, list(relayed))
        # Relays and the process behind them may suffer at the same time.
        space = "process" if harm in ("stop", "kill") else "relays"
        free = [whom for whom in among if busy.get(f"{space} {whom}", 0.0) <= at]
        if not free:
            continue
        whom = chance.choice(free)
        step = _step(chance, at, harm, whom, longest, relayed.get(whom, 0))
        # Whoever was killed has to start before anything else becomes of it.
        busy[f"{space} {whom}"] = step.until + (3.0 if harm == "kill" else 0.2)
        steps.append(step)
    return steps


def _step(
    chance: random.Random, at: float, harm: str, whom: str, longest: float, relays: int
) -> Step:
    if harm == "stop":
        return Step(at, harm, whom, _between(chance, LEAST, longest))
    if harm == "kill":
        return Step(at, harm, whom, _between(chance, LEAST, min(5.0, longest)))
    parts = tuple(sorted(chance.sample(range(relays), chance.randint(1, relays))))
    if harm != "cut" and chance.random() < 0.6:
        parts = tuple(range(relays))
    share = chance.choice([1.0, 1.0, 0.5])
    span = 0.0 if harm == "cut" else _between(chance, LEAST, min(12.0, longest))
    return Step(at, harm, whom, span, share, parts)


def _between(chance: random.Random, least: float, most: float) -> float:
    """Return a span: as likely to be ten times as long as ten times as short."""
    return float(least * (most / least) ** chance.random())

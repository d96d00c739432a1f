"""The bench of a siege: slices of attack and of plain burning take turns, and books are kept.

Both are done by one process on one core, so that what the machine does beside falls on both
alike. How late messages were is compared by the slice in which they were due; memory is the
victim's own, looked at all the time.
"""

import os
import random
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import zmq

from tests.faults.laboratory import Lab, progress
from tests.faults.ledger import load
from tests.faults.processes import Process
from tests.net.keyrings import Keyrings
from tests.support import free_ports, tcp
from zexchange.net.security.key_directory import KeyDirectory

from .attacks import KINDS, PEER, STRANGER
from .roles import FEDERATION, GOOD, PATHS

BOUND = 1000 << 20
"""Memory that an attack may cost, in bytes beside what the victim has before: docs/LIMITS.md."""
RATIO = 3.0
"""How much later than beside a burner the latest hundredth of good peers' messages may be."""
SLICE, BURN = 15.0, 8.0
"""Seconds of attack, and of the burner, that take turns."""
SETTLE = 2.0
"""Seconds of a burner's slice that are not counted: the victim still has the attack to digest."""
SAMPLE_EVERY = 0.1
RATE = 100
SPAN = 2.0
PERMISSIONS = """
[foe]
publish = ["evil.**"]
subscribe = ["public.**"]
"""


class Actor(Process):
    """A process of a siege."""

    module = "tests.faults.hostile.roles"


class Siege:
    """One siege.

    Args:
        lab: has the seed, and the figures.
        keys: whether the victim and its good peers have keys.
        authorized: whether the attacker has one of them, or else says to be of another federation.
        seconds: of attack.
        timed: whether to compare how late messages were.
    """

    def __init__(self, lab: Lab, keys: bool, authorized: bool, seconds: float, timed: bool) -> None:
        self._lab, self._seconds, self._timed = lab, seconds, timed
        self._authorized = authorized
        self._chance = random.Random(f"{lab.seed} {keys} {authorized}")
        self._folder = tempfile.TemporaryDirectory(prefix="zxsiege-")
        self._keyrings = Keyrings(Path(self._folder.name)) if keys else None
        self._memory: list[tuple[float, int]] = []
        self._slices: list[tuple[str, float, float]] = []
        self._late: dict[str, list[tuple[float, float]]] = {path: [] for path in PATHS}
        self._over = threading.Event()
        self.counts: dict[str, int] = {}
        self._ratios: dict[str, float] = {}

    # --------------------------------------------------------------------------- the cast

    def _start(self) -> None:
        if self._keyrings:
            self._keyrings.friends("victim", *GOOD)
            self._keyrings("foe")
            if self._authorized:
                self._keyrings.authorize("victim", "foe")
                self._keyrings.permit("victim", PERMISSIONS)
        ports = {label: free_ports()[0] for label in ("victim", *GOOD)}

        def place(label: str) -> dict[str, Any]:
            keys = {"keys": str(self._keyrings(label))} if self._keyrings else {}
            peers = [tcp(ports[other]) for other in ports if other != label]
            return {"listen": tcp(ports[label]), "peers": peers, "local": False, **keys}

        self.victim = self._actor("victim", federate=place("victim"))
        self.good = [self._actor("good", label=x, rate=RATE, federate=place(x)) for x in GOOD]
        for actor in (self.victim, *self.good):
            actor.ready()
        public = secret = server = b""
        if self._keyrings:
            server = self._keyrings.public("victim")
            us = KeyDirectory(self._keyrings("foe"))
            public, secret = us.public, us.secret
        control, data = self.victim.endpoints
        kinds = (*STRANGER, *PEER) if self._authorized else STRANGER
        self.foe = self._actor(
            "foe",
            core=max(os.sched_getaffinity(0)),
            seed=self._chance.randrange(10**9),
            span=SPAN if self._timed else 0.3,
            kinds=[name for name, kind in KINDS.items() if kind in kinds],
            federation=FEDERATION if self._authorized else "f" * 250,
            good=[good.id for good in self.good],
            control=control,
            data=data,
            server=server.hex(),
            public=public.hex(),
            secret=secret.hex(),
        )
        self.foe.ready()

    def _actor(self, role: str, **options: Any) -> Actor:
        federate = options.get("federate", {})
        label = options.setdefault("label", role)
        if role != "foe":
            federate["label"] = label
        with (Path(self._folder.name) / f"{label}.stderr").open("wb") as errors:
            actor = Actor(role, options, errors=errors)
        self._actors.append(actor)
        return actor

    _actors: list[Actor]

    # ------------------------------------------------------------------------- the siege

    def run(self) -> None:
        """Do everything, and leave nothing behind."""
        self._actors, failed = [], True
        try:
            self._start()
            watch = threading.Thread(target=self._watch, daemon=True)
            watch.start()
            for good in self.good:
                good.ask(go=True)
            self._besiege()
            self._settle()
            failed = False
        finally:
            self._over.set()
            for actor in self._actors:
                actor.finish(failed or not self._lab.full)
            self._folder.cleanup()

    def _watch(self) -> None:
        """Look at the victim's memory."""
        while not self._over.wait(SAMPLE_EVERY):
            try:
                with open(f"/proc/{self.victim.process.pid}/statm") as statm:
                    pages = int(statm.read().split()[1])
            except OSError:
                return
            self._memory.append((time.monotonic(), pages * os.sysconf("SC_PAGE_SIZE")))

    def _besiege(self) -> None:
        """Have slices of burning and of attack take turns."""
        if self._timed:
            self._slice("burn", BURN)
        left = self._seconds
        while left > 0:
            self._slice("attack", min(SLICE, left))
            left -= SLICE
            if self._timed:
                self._slice("burn", BURN)
        self.foe.ask(does="wait")

    def _slice(self, does: str, seconds: float) -> None:
        self.foe.tell(does=does)
        while self.foe.expecting("does") != does:
            pass
        begun = time.monotonic()
        until = begun + seconds
        while time.monotonic() < until:
            for actor in self._actors:
                assert actor.process.poll() is None, f"{actor.label} has ended"
            time.sleep(0.05)
        self._slices.append((does, begun + (SETTLE if does == "burn" else 0), until))
        if self._timed:
            self._take_late()
        self._show(does)

    def _take_late(self) -> None:
        for good in self.good:
            for path, late in good.ask(late=True).items():
                self._late[path].extend((at, seconds) for at, seconds in late)

    def _of(self, path: str, does: str) -> list[float]:
        """Return how late those messages were that were due in slices of a kind."""
        spans = [(begun, until) for what, begun, until in self._slices if what == does]
        return sorted(
            seconds for at, seconds in self._late[path] if any(a <= at < b for a, b in spans)
        )

    def _show(self, does: str) -> None:
        now, most = self._memory[-1][1], max(mb for _, mb in self._memory)
        text = f"{does}: {now / 1e6:.0f} MB, at most {most / 1e6:.0f}"
        if self._timed:
            _, begun, until = self._slices[-1]
            for path in PATHS:
                late = sorted(s for at, s in self._late[path] if begun <= at < until)
                text += f"; {path} {_quantiles(late)}"
        progress(text)

    # -------------------------------------------------------------------------- the books

    def _settle(self) -> None:
        """See everything through, and judge."""
        heads = [good.ask(stop=True) for good in self.good]
        for good, head in zip(self.good, reversed(heads), strict=True):
            good.ask(reach=head)
        if self._timed:
            self._take_late()
        reports = [good.ask(report=True) for good in self.good]
        victim, foe = self.victim.ask(report=True), self.foe.ask(report=True)
        self.counts = foe["counts"]
        wrong = [foe["wrong"]] if foe["wrong"] else []
        for good, head, report in zip(self.good, reversed(heads), reports, strict=True):
            wrong += [f"{good.label}: {text}" for text in self._count(report, head)]
        wrong += [f"the victim lost {event}" for event in victim["events"][:5]]
        wrong += self._memory_used()
        wrong += self._said()
        if self._timed:
            wrong += self._compared()
        progress("attacks: " + ", ".join(f"{kind} {n:,}" for kind, n in foe["counts"].items()))
        progress("rejected: " + ", ".join(f"{why} {n:,}" for why, n in victim["rejected"]))
        idle = [kind for kind in self.foe.options["kinds"] if not foe["counts"].get(kind)]
        wrong += [f"never done: {idle}"] if idle else []
        assert not wrong, f"seed {self._lab.seed}:\n" + "\n".join(wrong)

    def _count(self, report: dict[str, Any], head: int) -> list[str]:
        """Take the figures of one good peer; return what is wrong with its books."""
        figures, wrong = self._lab.figures, []
        for path, account in load(report["books"]).items():
            figures.sent += head
            figures.received += account.received
            figures.silent += account.silently_lost
            figures.duplicates += account.duplicates
            figures.disorder += account.disorder
            wrong += [f"{path}: {text}" for text in account.faults(head, 1, may_lose=False)]
        figures.lost += sum(e["last"] - e["first"] + 1 for e in report["events"])
        wrong += [f"lost {event}" for event in report["events"][:5]]
        return wrong + [f"a peer has left: {event}" for event in report["left"][:5]]

    def _said(self) -> list[str]:
        """Return what nodes have written that they never should: one traceback of each kind."""
        found: dict[str, str] = {}
        for actor in (self.victim, *self.good):
            text = (Path(self._folder.name) / f"{actor.label}.stderr").read_text(errors="replace")
            for part in text.split("Traceback (most recent call last):")[1:]:
                lines = part.splitlines()
                end = next((n for n, line in enumerate(lines[1:], 1) if line[:1] != " "), 1)
                found.setdefault(lines[end], f"{actor.label} has said:\n" + part[:3000])
        return list(found.values())

    def _memory_used(self) -> list[str]:
        before = self._memory[0][1]
        at, most = max(self._memory, key=lambda sample: sample[1])
        text = (
            f"memory: {before / 1e6:.0f} MB before, at most {most / 1e6:.0f} after "
            f"{at - self._memory[0][0]:.0f} s, {self._memory[-1][1] / 1e6:.0f} at the end"
        )
        progress(text)
        return [text] if most - before > BOUND else []

    def _compared(self) -> list[str]:
        wrong = []
        for path in PATHS:
            burnt, attacked = self._of(path, "burn"), self._of(path, "attack")
            ratio = _quantile(attacked, 0.99) / _quantile(burnt, 0.99)
            text = (
                f"{path}: {_quantiles(attacked)} attacked, {_quantiles(burnt)} beside a burner "
                f"(p50/p99/most, ms): p99 times {ratio:.2f}"
            )
            progress(text)
            if ratio > RATIO:
                wrong.append(text)
        return wrong


def _quantile(values: list[float], share: float) -> float:
    return values[min(int(len(values) * share), len(values) - 1)]


def _quantiles(values: list[float]) -> str:
    if not values:
        return "nothing"
    parts = statistics.median(values), _quantile(values, 0.99), values[-1]
    return "/".join(f"{1000 * part:.1f}" for part in parts)


def curve_is_there() -> bool:
    """Tell whether libzmq was built with CURVE."""
    return bool(zmq.has("curve"))

"""The bench of a soak: starts everybody, has a plan come to pass, heals, and settles the books.

A mesh has a pair of relays before every node; behind hubs, every hub has three. The plan is
drawn from the seed, and so are who is where and how much is kept; what a run comes to varies
with the machine, what happens in it does not.
"""

import heapq
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.laboratory import Figures, Lab, progress
from tests.relay import Relay
from tests.support import free_ports, tcp

from . import checks
from .actors import Actor, Timeline
from .books import SUMS
from .plan import Step, draw

SENDERS = ("s1", "s2", "s3")
RECEIVERS = ("steady", "churn1", "churn2")
LASTING = {"steady": ["soak.**"], "churn1": ["soak.a"], "churn2": []}
EPILOGUE = 50
BURSTS = (1, 10, 10, 100)
"""Messages that are sent in one go."""


class Soak:
    """One soak: `run` runs it and raises AssertionError with all that is known, if it fails."""

    def __init__(self, lab: Lab, hub: bool, seconds: float) -> None:
        self._lab, self._hub, self._seconds = lab, hub, seconds
        self.kind = "hub" if hub else "mesh"
        self.chance = random.Random(f"{lab.seed} {self.kind}")
        self.timeline = Timeline()
        self.folder = Path(tempfile.mkdtemp(prefix="zxsoak-"))
        self.actors: dict[str, Actor] = {}
        self.former: list[Actor] = []
        self.relays: dict[str, list[Relay]] = {}
        self.steps: list[Step] = []
        self._failed = True

    # -------------------------------------------------------------------------- the cast

    def _relayed(self, label: str, number: int) -> list[int]:
        """Set up relays before ports that are free, and return the ports behind them.

        The relays' own ports are in a row, as those behind them are.
        """
        while True:
            pairs = [free_ports() for _ in range(2 * ((number + 1) // 2))]
            ports = [port for pair in pairs for port in pair]
            half = len(ports) // 2
            front, back = ports[:half], ports[half:]
            if all(row == list(range(row[0], row[0] + half)) for row in (front, back)):
                break
        self.relays[label] = [
            Relay(target, port) for port, target in zip(front[:number], back, strict=False)
        ]
        return back[:number]

    def _start(self, role: str, label: str, **options: Any) -> None:
        seed = self.chance.randrange(10**9)
        full = {"label": label, "life": 1, "seed": seed, "second": None, "forgets": False}
        full |= {"bounds": None, "together": False, **options}
        self.actors[label] = Actor(role, full, self.folder, self.timeline.tell)

    def _cast(self) -> None:
        """Start hubs, receivers and senders."""
        ring = self.chance.choice([1 << 20, 4 << 20, 32 << 20])
        stall = self.chance.choice([1.0, 1.0, 5.0])
        places = self._hubs() if self._hub else self._mesh()
        for label in RECEIVERS:
            federate = places(label)
            churn = label != "steady"
            self._start("receiver", label, churn=churn, lasting=LASTING[label], federate=federate)
        for label in SENDERS:
            federate = {"replay_bytes": ring, "stall": stall, **places(label)}
            rate = self.chance.choice([100, 400, 1_000])
            sizes = self.chance.choice([(10, 300), (10, 3_000)])
            self._start(
                "sender",
                label,
                rate=rate,
                sizes=sizes,
                fresh=0.01,
                bursts=BURSTS,
                federate=federate,
            )

    def _mesh(self) -> Callable[[str], dict[str, Any]]:
        behind = {label: self._relayed(label, 2) for label in (*RECEIVERS, *SENDERS)}

        def place(label: str) -> dict[str, Any]:
            relays = self.relays[label]
            known = [r for other, r in self.relays.items() if other != label]
            return {
                "listen": [tcp(port) for port in behind[label]],
                "advertise": [tcp(relay.port) for relay in relays],
                "peers": [tcp(r[0].port) for r in known],
                # Some are on one host, and need no relays to each other.
                "local": self.chance.random() < 0.4,
            }

        return place

    def _hubs(self) -> Callable[[str], dict[str, Any]]:
        labels = ["hub1", "hub2"][: self.chance.choice([1, 1, 2])]
        behind = {label: self._relayed(label, 3) for label in labels}
        doors = {label: tcp(self.relays[label][0].port) for label in labels}
        for label in labels:
            others = [doors[other] for other in labels if other != label]
            listen = tcp(behind[label][0])
            self._start("hub", label, listen=listen, advertise=doors[label], peers=others)

        def place(label: str) -> dict[str, Any]:
            some = self.chance.sample(labels, self.chance.randint(1, len(labels)))
            return {"hub": [doors[hub] for hub in some], "local": False}

        return place

    # ------------------------------------------------------------------------- the faults

    def run(self) -> None:
        """Do everything, and leave nothing behind."""
        try:
            self._cast()
            self._expect("meet", len(SENDERS) + len(RECEIVERS) - 1)
            self.steps = self._draw({label: len(relays) for label, relays in self.relays.items()})
            self._load()
            self._settle()
            self._failed = False
        except AssertionError as error:
            raise AssertionError(self._story(str(error))) from None
        finally:
            self._count()
            self.close()

    def _draw(self, relayed: dict[str, int]) -> list[Step]:
        """Return the plan."""
        people = [*SENDERS, *RECEIVERS]
        # Who dies while its hub does is taken for silent, for 30 s: too long for every run.
        mortal = list(self.actors) if self._lab.full else people
        return draw(self.chance, self._seconds, mortal, people, relayed)

    def _load(self) -> None:
        """Have the plan come to pass while senders send."""
        self.timeline.begun = begun = time.monotonic()
        for label in SENDERS:
            self.actors[label].tell("go")
        due = [(step.at, n, step, True) for n, step in enumerate(self.steps)]
        heapq.heapify(due)
        shown = 0.0
        while due or time.monotonic() - begun < self._seconds:
            now = time.monotonic() - begun
            if now - shown > 1.0:
                shown = now
                self._show(f"{now:.0f} s of {self._seconds:.0f}")
            while due and due[0][0] <= now:
                _, n, step, begins = heapq.heappop(due)
                self._carry_out(step, begins)
                if begins and step.span:
                    heapq.heappush(due, (step.until, n, step, False))
            time.sleep(0.02)

    def _carry_out(self, step: Step, begins: bool) -> None:
        self.timeline.note(str(step) if begins else f"end of {step.harm} {step.whom}")
        match step.harm:
            case "stop":
                self.actors[step.whom].stop(begins)
            case "kill" if begins:
                self.actors[step.whom].die()
            case "kill":
                self._follow(step.whom)
            case _:
                self._disturb(step, begins)

    def _follow(self, label: str) -> None:
        """Have a process that was killed start anew."""
        former = self.actors[label]
        self.former.append(former)
        self.actors[label] = former.follow(self.chance.randrange(10**9))
        if former.role == "sender":
            self.actors[label].tell("go")

    def _disturb(self, step: Step, begins: bool) -> None:
        """Do something to the connections, or stop doing it."""
        for part in step.parts:
            relay = self.relays[step.whom][part]
            match step.harm:
                case "cut":
                    relay.cut(step.share)
                case "refuse":
                    relay.refuse(begins, step.share)
                case "close":
                    relay.listen(not begins, step.share)
                case "hold":
                    relay.hold(begins)

    # -------------------------------------------------------------------------- the books

    def _all(self, what: str, value: Any = None, role: str = "") -> dict[str, Any]:
        """Tell all living nodes something, and return their answers."""
        actors = [a for a in self.actors.values() if a.role != "hub" and role in ("", a.role)]
        for actor in actors:
            actor.ready()
            actor.tell(what, value)
        answers = {actor.label: actor.answer(what) for actor in actors}
        self.timeline.note(f"answered: {what}")
        return answers

    def _expect(self, what: str, value: Any = None, role: str = "") -> None:
        wrong = {label: said for label, said in self._all(what, value, role).items() if said}
        assert not wrong, f"{what}: {wrong}"

    def _settle(self) -> None:
        """Wait until everything is through, and check every account."""
        self.timeline.note("all is healed")
        self._show("healed")
        for label in SENDERS:
            assert self.actors[label].answer("go") == ""
        since = time.monotonic()
        self._expect("finish", role="sender")
        self._expect("settle", role="receiver")
        self._expect("meet", len(SENDERS) + len(RECEIVERS) - 1)
        sent = self._all("epilogue", EPILOGUE, "sender")
        heads = {self.actors[label].name: by_name for label, by_name in sent.items()}
        self._expect("reach", heads, "receiver")
        self._lab.figures.slowest = time.monotonic() - since
        self._expect("flush", 30.0, "sender")
        self._expect("read")
        reports = self._all("report")
        failed = {label: report for label, report in reports.items() if isinstance(report, str)}
        assert not failed, f"report: {failed}"
        for label in RECEIVERS:
            self._lab.figures.recovered += reports[label]["recovered"]
        lives = [*self.former, *self.actors.values()]
        wrong = checks.wrong(reports, lives, self.timeline.rows(), self.steps, self.timeline.begun)
        assert not wrong, "\n".join(wrong)

    def _count(self) -> None:
        figures: Figures = self._lab.figures
        for key, value in self._sums().items():
            setattr(figures, key, value)
        figures.sent = figures.received + figures.lost + figures.silent

    def _sums(self) -> dict[str, int]:
        receivers = [a for a in (*self.former, *self.actors.values()) if a.role == "receiver"]
        return {key: sum(a.sums.get(key, 0) for a in receivers) for key in SUMS}

    def _show(self, where: str) -> None:
        sums = " ".join(f"{key} {value:,}" for key, value in self._sums().items())
        now = time.monotonic() - self.timeline.begun
        under_way = [f"{s.harm} {s.whom}" for s in self.steps if s.at <= now < s.until]
        progress(f"{where}: {sums} {', '.join(under_way)}")

    def _story(self, wrong: str) -> str:
        """Return what went wrong, and what had happened before."""
        lines = self.timeline.lines()
        (self.folder / "timeline").write_text("\n".join(lines))
        plan = "\n".join(f"{step.at:8.3f}  {step}" for step in self.steps)
        faults = [line for line in lines if " fault=" in line]
        return (
            f"seed {self._lab.seed}, {self.kind}, {self._seconds:g} s; "
            f"logs and the whole timeline are in {self.folder}\n{wrong}\n\n"
            f"as it was seen:\n" + "\n".join(faults[:50]) + f"\n\nthe plan:\n{plan}"
        )

    def close(self) -> None:
        """End everybody, and take the relays away."""
        statuses = {}
        for actor in self.actors.values():
            actor.stop(False) if actor.process.poll() is None else None
        for actor in self.actors.values():
            statuses[actor.name] = actor.close(self._failed or not self._lab.full)
        for actor in self.former:
            actor.close(by_force=True)
        for relays in self.relays.values():
            for relay in relays:
                relay.close()
        if not self._failed:
            if "ZEXCHANGE_SOAK_KEEP" in os.environ:
                (self.folder / "timeline").write_text("\n".join(self.timeline.lines()))
            else:
                shutil.rmtree(self.folder)
            assert not (self._lab.full and any(statuses.values())), f"exit status: {statuses}"

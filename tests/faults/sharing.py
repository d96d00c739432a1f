"""A group under faults: the processes that share work and that do it, and what is checked.

Run as ``python -m tests.faults.sharing sharer|worker OPTIONS``, as `roles` are. A worker writes
what it has done into a file, line by line, since it may be killed at any moment.
"""

import json
import os
import random
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.laboratory import Figures
from tests.faults.processes import Process
from tests.faults.roles import LONG, Role, say
from tests.support import eventually, tcp

GROUP = "workers"
AT_ONCE = 20
"""Messages that a sender sends together."""
PAUSE, LONG_PAUSE = 0.01, 0.05
"""Seconds in between: two senders make some 4000 jobs a second, or 800 for a busy machine."""


class Sharer(Role):
    """Sends numbered messages to the group, until told to pause."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self.number = 0
        self._go, self._rests = threading.Event(), threading.Event()
        eventually(self._meets, LONG)
        threading.Thread(target=self._work, daemon=True).start()
        say(ready=(self.node.id, self.node.endpoints))

    def _meets(self) -> bool:
        """Send what counts for nothing; return whether there are members by now."""
        self.exchange.send(("probe", 0))
        return any(group.members >= self.options["members"] for group in self._groups())

    def _groups(self) -> Any:
        return self.exchange.stats().groups

    def _work(self) -> None:
        label = self.options["label"]
        while True:
            if not self._go.is_set():
                self._rests.set()
            self._go.wait()
            for _ in range(AT_ONCE):
                self.number += 1
                self.exchange.send((label, self.number))
            time.sleep(self.options["pause"])

    def answer(self, command: dict[str, Any]) -> None:
        match command:
            case {"go": going}:
                self._rests.clear()
                (self._go.set if going else self._go.clear)()
                if not going:
                    self._rests.wait(LONG)
                say(go=self.number)
            case {"flush": seconds}:
                self.node.flush(seconds)
                say(flush=self.number)
            case {"report": _}:
                (group,) = self._groups()
                told = [e for e in self.events if e["event"] == "Lost"]
                lost = sum(e["last"] - e["first"] + 1 for e in told)
                left = group.owed + group.under_way
                say(report={"sent": self.number, "lost": lost, "left": left, "of": group.lost})
            case _:
                super().answer(command)


class Worker(Role):
    """Does what comes, and writes it down."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        file = os.open(options["file"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._stream = self.exchange.stream(group=GROUP, details=True)
        threading.Thread(target=self._work, args=(file,), daemon=True).start()
        say(ready=(self.node.id, self.node.endpoints))

    def _work(self, file: int) -> None:
        me, (least, most) = self.options["label"], self.options["work"]
        times = random.Random(me)
        for item in self._stream:
            who, number = item.msg
            if who != "probe":
                time.sleep(times.uniform(least, most))
                os.write(file, f"{me} {who} {number} {int(item.redelivered)}\n".encode())


class SharingProcess(Process):
    """One of them, as the test sees it."""

    module = "tests.faults.sharing"


@dataclass
class Bench:
    """Processes that share work, and what was done, message by message."""

    file: Path
    seed: int
    federate: dict[str, Any]
    pause: float = PAUSE
    sharers: list[SharingProcess] = field(default_factory=list[SharingProcess])
    workers: list[SharingProcess] = field(default_factory=list[SharingProcess])
    ended: list[SharingProcess] = field(default_factory=list[SharingProcess])
    made: int = 0

    def sharer(self, members: int, **federate: Any) -> SharingProcess:
        """Start a sender, which waits for so many members."""
        self.made += 1
        label = f"s{self.made}"
        # A worker that dials one of them by TCP hears of the others there.
        reached = {} if "hub" in self.federate else {"listen": tcp(0)}
        arguments = {"label": label, **reached, **self.federate, **federate}
        options = {
            "label": label, "members": members, "pause": self.pause, "federate": arguments,
        }  # fmt: skip
        self.sharers.append(SharingProcess("sharer", options))
        return self.sharers[-1]

    def worker(self, **federate: Any) -> SharingProcess:
        """Start a worker."""
        self.made += 1
        label = f"w{self.made}"
        arguments = {"label": label, **self.federate, **federate}
        options = {
            "label": label, "file": str(self.file), "work": (0.0, 0.001), "federate": arguments,
        }  # fmt: skip
        self.workers.append(SharingProcess("worker", options))
        return self.workers[-1]

    def die(self, process: SharingProcess) -> None:
        """Kill a process."""
        process.die()
        (self.workers if process in self.workers else self.sharers).remove(process)
        self.ended.append(process)

    def flushed(self) -> float:
        """Wait until all that was sent is done; return how long that took, in seconds."""
        since = time.monotonic()
        for sharer in self.sharers:
            sharer.ask(flush=LONG)
        return time.monotonic() - since

    def settle(self, figures: Figures) -> None:
        """Have the senders stop, and compare what they sent with what was done."""
        for sharer in self.sharers:
            sharer.ask(go=False)
        figures.slowest = max(figures.slowest, self.flushed())
        done = defaultdict[tuple[str, int], list[bool]](list)
        newest: dict[tuple[str, str], int] = {}
        for line in self.file.read_text().splitlines():
            me, who, number, marked = line.split()
            done[who, int(number)].append(marked == "1")
            if marked == "0":
                figures.disorder += int(number) <= newest.get((me, who), 0)
                newest[me, who] = int(number)
        wrong = [f"{m}: {marks}" for m, marks in done.items() if marks.count(False) > 1]
        for sharer in self.sharers:
            report = sharer.ask(report=True)
            missing = [n for n in range(1, report["sent"] + 1) if (sharer.label, n) not in done]
            figures.sent += report["sent"]
            figures.received += report["sent"] - len(missing)
            figures.lost += report["lost"]
            figures.silent += max(0, len(missing) - report["lost"])
            if missing or report["left"] or report["lost"] or report["of"]:
                wrong.append(f"{sharer.label}: {report}, missing {missing[:10]}")
        figures.recovered += sum(all(marks) for marks in done.values())
        figures.duplicates += sum(len(marks) > 1 for marks in done.values())
        assert not wrong, f"seed {self.seed}:\n" + "\n".join(wrong[:20])
        assert not figures.disorder, f"seed {self.seed}"

    def end(self) -> None:
        """End all processes."""
        for process in [*self.sharers, *self.workers]:
            process.finish(True)
        for process in self.ended:
            process.finish(True)


if __name__ == "__main__":
    {"sharer": Sharer, "worker": Worker}[sys.argv[1]](json.loads(sys.argv[2])).serve()

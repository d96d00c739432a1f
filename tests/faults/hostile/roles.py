"""The processes of a siege: the victim, two good peers, and whoever attacks or only burns time.

Run as ``python -m tests.faults.hostile.roles victim|good|foe OPTIONS``. The good ones say
what they found in the books, and how late each message was; nobody here judges.
"""

import json
import math
import os
import random
import resource
import sys
import threading
import time
from collections import Counter, deque
from typing import Any

import zexchange
from tests.faults.ledger import Ledger
from tests.faults.roles import LONG, Role, commands, say
from tests.support import eventually

from .attacks import KINDS
from .foe import Foe, Target

FEDERATION = "faults"
GOOD = ("left", "right")
PATHS = ("beside", "through")
FILL = "x" * 100
MOST_FILES = 4096
TOGETHER = 4
"""Kinds of attack that go on at a time, a step of each in turn."""
MORE = 5.0
"""Seconds more in which each kind of attack has its turn, if some had none."""
clock = time.monotonic


class Victim(Role):
    """Hands on what the good ones ask for, and would take what is evil, too."""

    def __init__(self, options: dict[str, Any]) -> None:
        # Descriptors are bounded, as they are where it matters.
        resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_FILES, MOST_FILES))
        zexchange.retain("public.kept", 100)
        for _ in range(100):
            zexchange.get_exchange("public.kept").send(b"k" * 1000)
        for label in GOOD:
            back = zexchange.get_exchange(f"back.{label}")
            zexchange.get_exchange(f"there.{label}").attach(zexchange.to_call(back.send))
        zexchange.match("evil.**").attach(zexchange.to_call(lambda msg: None))
        super().__init__(options)
        engine = self.node._engine
        assert engine is not None
        where = next(a for a in engine.session.addresses if a.control.startswith("tcp"))
        say(ready=(self.node.id, [where.control, where.data]))

    def answer(self, command: dict[str, Any]) -> None:
        match command:
            case {"report": _}:
                stats = self.node.stats()
                rejected = Counter[str]()
                for (_, reason), n in stats.rejected.items():
                    rejected[reason] += n
                lost = [e for e in self.events if e["event"] == "Lost"]
                lost = [e for e in lost if e["exchange"].startswith("there.")]
                say(report={"rejected": rejected.most_common(40), "events": lost})
            case _:
                super().answer(command)


class Good(Role):
    """Sends at a moderate rate, beside the victim and through it, and books what comes."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.ledger, self.late = Ledger(), {path: deque[tuple[float, float]]() for path in PATHS}
        self.sent, self.other = 0, GOOD[options["label"] == GOOD[0]]
        zexchange.get_exchange(f"beside.{self.other}").handler(self._book("beside"))
        zexchange.get_exchange(f"back.{self.other}").handler(self._book("through"))
        super().__init__(options)
        self.node.wait_subscribers(f"there.{options['label']}", 1, LONG)
        self.node.wait_subscribers(f"beside.{options['label']}", 1, LONG)
        self.node.wait_ready(LONG)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        say(ready=(self.node.id, self.node.endpoints))

    def _book(self, path: str) -> Any:
        account, late = self.ledger.account(path), self.late[path]

        def book(msg: Any) -> None:
            number, at, _ = msg
            account.come("", number, number)
            late.append((at, clock() - at))

        return book

    def _send(self) -> None:
        """Send until stopped; what is late because a send was held up counts as late."""
        label, every = self.options["label"], 1 / self.options["rate"]
        there, beside = (zexchange.get_exchange(f"{way}.{label}") for way in ("there", "beside"))
        due = clock()
        while not self._stop.is_set():
            self.sent += 1
            began = clock()
            at = due if began - due < every or self._held else began
            there.send((self.sent, at, FILL))
            beside.send((self.sent, at, FILL))
            self._held = clock() - began > every
            due = max(due, began - (LONG if self._held else every)) + every
            if due > (now := clock()):
                time.sleep(due - now)

    _held = False

    def answer(self, command: dict[str, Any]) -> None:
        match command:
            case {"go": _}:
                self._thread.start()
                say(go=True)
            case {"stop": _}:
                self._stop.set()
                self._thread.join()
                say(stop=self.sent)
            case {"reach": number}:
                eventually(lambda: self.ledger.reached(dict.fromkeys(PATHS, number)), LONG)
                say(reach=number)
            case {"late": _}:
                say(late={path: self._taken(late) for path, late in self.late.items()})
            case {"report": _}:
                lost = [e for e in self.events if e["event"] == "Lost"]
                left = [e for e in self.events if e["event"] == "PeerLeft"]
                say(report={"books": self.ledger.dump(), "events": lost, "left": left})
            case _:
                super().answer(command)

    @staticmethod
    def _taken(late: deque[tuple[float, float]]) -> list[tuple[float, float]]:
        return [late.popleft() for _ in range(len(late))]


class Attacker:
    """Attacks, burns time on the same core, or waits; it changes from one to the other as told."""

    def __init__(self, options: dict[str, Any]) -> None:
        os.sched_setaffinity(0, {options["core"]})
        self._options, self._does = options, "wait"
        self._chance = random.Random(options["seed"])
        self._waiting = threading.Event()
        self.counts, self.wrong = Counter[str](), ""
        target = {k: bytes.fromhex(options[k]) for k in ("server", "public", "secret")}
        good = tuple(map(bytes.fromhex, options["good"]))
        self._target = Target(options["control"], options["data"], **target, good=good)
        self._order: list[str] = []
        self._ends = math.inf
        threading.Thread(target=self._listen, daemon=True).start()
        say(ready=("", []))

    def _listen(self) -> None:
        for command in commands():
            match command:
                case {"does": what}:
                    self._does = what
                    self._waiting.set()
                case {"report": _}:
                    say(report={"counts": self.counts, "wrong": self.wrong})
        self._does = "end"
        self._waiting.set()

    def serve(self) -> None:
        """Do as told until the input ends."""
        while self._does != "end":
            match self._does:
                case "burn":
                    say(does="burn")
                    while self._does == "burn":
                        pass
                case "attack":
                    say(does="attack")
                    self._attack()
                case _:
                    self._waiting.clear()
                    if self._does == "wait":
                        say(does="wait")
                        self._waiting.wait()

    def _attack(self) -> None:
        foe = Foe(self._target, self._chance, self._options["federation"])
        running = deque[tuple[str, Any, float]]()
        try:
            if "gossip" in self._options["kinds"]:
                eventually(lambda: foe.node.route)  # what a peer can do wants to be one first
            while self._does == "attack" or self._owes_a_turn():
                while len(running) < min(TOGETHER, len(self._options["kinds"])):
                    kind = self._next()
                    running.append((kind, KINDS[kind](foe), clock() + self._options["span"]))
                kind, attack, until = running.popleft()
                foe.live()
                self.counts[kind] += next(attack)
                if clock() < until:
                    running.append((kind, attack, until))
                else:
                    attack.close()
        except Exception as error:
            self.wrong = repr(error)
            raise
        finally:
            for _, attack, _ in running:
                attack.close()
            foe.close()

    def _owes_a_turn(self) -> bool:
        """Return whether a kind was never done, on a machine that is busy with other things."""
        if self._does != "wait":
            return False
        self._ends = min(self._ends, clock() + MORE)
        return clock() < self._ends and not all(map(self.counts.get, self._options["kinds"]))

    def _next(self) -> str:
        if not self._order:
            self._order = list(self._options["kinds"])
            self._chance.shuffle(self._order)
        return self._order.pop()


ROLES: dict[str, Any] = {"victim": Victim, "good": Good, "foe": Attacker}

if __name__ == "__main__":
    ROLES[sys.argv[1]](json.loads(sys.argv[2])).serve()

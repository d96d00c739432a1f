"""The processes of a laboratory, as the test sees them: told and heard line by line in JSON."""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import IO, Any

from tests.faults.roles import LONG
from tests.support import ROOT, Program, unmeasured


class Process(Program):
    """A role in a process of its own, possibly run by another program (``inside``)."""

    module = "tests.faults.roles"

    def __init__(
        self,
        role: str,
        options: dict[str, Any],
        inside: Sequence[str] = (),
        errors: IO[bytes] | None = None,
    ) -> None:
        command = [sys.executable, "-u", "-m", self.module, role, json.dumps(options)]
        self.process = subprocess.Popen(
            [*inside, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=ROOT,
            env=unmeasured(),
        )
        self._buffer = b""
        self.options = options
        self.label: str = options["label"]
        self.id = ""
        self.endpoints: list[str] = []
        self.dead = False
        self._early: list[dict[str, Any]] = []

    def ready(self) -> None:
        """Wait until it has joined and is in force."""
        if not self.id:
            self.id, self.endpoints = self.expecting("ready")

    def tell(self, **command: object) -> None:
        self.say(json.dumps(command))

    def hear(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.line(LONG + 10))
        return answer

    def expecting(self, key: str) -> Any:
        """Return what it answers under a key; answers of another kind are left for later."""
        for answer in self._early:
            if key in answer:
                self._early.remove(answer)
                return answer[key]
        while key not in (answer := self.hear()):
            self._early.append(answer)
        return answer[key]

    def ask(self, **command: object) -> Any:
        """Tell it something, and return the answer that it gives under the same key."""
        self.tell(**command)
        (key,) = command
        return self.expecting(key)

    def die(self) -> None:
        """Kill it, and see it gone."""
        self.kill()
        self.process.wait()
        self.dead = True


class Sender(Process):
    """Sends up to numbers that it is given, one after the other, without a pause between."""

    sent = 0

    def to(self, *targets: int) -> None:
        """Have it send on, up to each of these numbers."""
        for target in targets:
            self.tell(to=target)
        self.sent = max(self.sent, *targets)

    def at(self, target: int) -> None:
        """Wait until it has sent that far."""
        assert self.expecting("at") == target

    def marked(self) -> int:
        """Return the number of the message that it sends just now."""
        return int(self.ask(mark=True))


class Receiver(Process):
    """Keeps books.

    Attributes:
        promised: from which number on it is owed an origin's messages, if not from 1.
        at_least: how far an origin that was killed is owed.
    """

    def __init__(self, role: str, options: dict[str, Any], inside: Sequence[str] = ()) -> None:
        super().__init__(role, options, inside)
        self.promised: dict[str, int] = {}
        self.at_least: dict[str, int] = {}

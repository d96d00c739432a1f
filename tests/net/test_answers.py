"""What peers send again, and that waits for the data thread: each has room, whatever others do."""

from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from zexchange.net.engine import answers as a
from zexchange.net.engine.answers import Answers
from zexchange.protocol.delivery.conflation import Offers


class Bench:
    """Peers with links of their names, and a data thread that takes what it is told to."""

    def __init__(self) -> None:
        self.commands = deque[Callable[[], None]]()
        self.taken: list[bytes] = []
        inbound: Any = self
        peers: Any = SimpleNamespace(members=self)
        window: Any = None
        traffic: Any = None
        self.answers = Answers(peers, inbound, window, Offers(), traffic)

    def linked_to(self, link: str) -> Any:
        return SimpleNamespace(id=link.encode(), link=link)

    def do(self, command: Callable[[], None]) -> None:
        self.commands.append(command)

    def with_peer_receiver(self, peer: bytes, act: Callable[[Any], None]) -> None:
        there = SimpleNamespace(replayed=lambda frame: self.taken.append(peer))
        self.do(lambda: act(there))

    def work(self) -> None:
        while self.commands:
            self.commands.popleft()()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Room for a thousand bytes, and for half of them of one peer."""
    monkeypatch.setattr(a, "PENDING_BYTES", 1000)
    monkeypatch.setattr(a, "PENDING_OF_ONE", 500)
    return Bench()


def test_who_sends_again_without_end_takes_no_room_of_others(bench: Bench) -> None:
    """What is sent again, asked for or not, is dropped beyond the share of its peer."""
    for _ in range(100):
        for foe in ("foe", "fiend", "ghoul"):
            bench.answers.replayed(foe, bytes(100))
    bench.answers.replayed("good", bytes(5000))
    bench.answers.replayed("good", bytes(5000))
    bench.work()
    assert bench.taken.count(b"good") == 1
    assert bench.taken.count(b"foe") <= 6
    assert len(bench.taken) <= 13
    bench.answers.replayed("good", bytes(100))
    bench.work()
    assert bench.taken.count(b"good") == 2


def test_peers_of_which_nothing_waits_are_not_remembered(bench: Bench) -> None:
    """The table has no more than those of which something waits, and the last one."""
    for n in range(100):
        bench.answers.replayed(f"peer{n}", b"x")
        bench.work()
    assert len(bench.answers._pending) == 1

"""What a peer that keeps to no rule makes the members of a node hold (`net.engine.groups`)."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from zexchange.errors import DecodeError
from zexchange.groups.queue import MOST
from zexchange.local.registry import Registry
from zexchange.net.engine import groups
from zexchange.net.engine.groups import NodeGroups
from zexchange.protocol.codec.values import encode
from zexchange.protocol.security.permissions import Rights
from zexchange.protocol.wire.data import ready_topic
from zexchange.protocol.wire.jobs import MAX_JOBS_BYTES, Jobs, jobs_head, read_jobs, read_progress

ME, THEM = b"m" * 16, b"t" * 16
NIL = encode(None)


class Told:
    """The node of a member, and what it publishes."""

    def __init__(self, rights: Rights) -> None:
        self.reports: list[tuple[int, int, int, bool]] = []
        self.rejected: list[str] = []
        self.registry = Registry()
        interest = SimpleNamespace(announced=1)
        peer = SimpleNamespace(id=THEM, rights=rights, interest=interest)
        session = SimpleNamespace(me=ME, members=SimpleNamespace(peers={THEM: peer}))
        outbound = SimpleNamespace(reply=self.reply)
        self.groups = NodeGroups(
            cast(Any, session),
            cast(Any, outbound),
            self.registry,
            lambda name: not name.startswith("apart"),
            lambda origin, why: self.rejected.append(why),
            lambda: 0.0,
            lambda command: command(),
        )

    def reply(self, peer: bytes, rest: bytes, in_turn: bool = False) -> None:
        progress = read_progress(ready_topic(peer, 0) + rest)[2]
        self.reports.append((progress.stint, progress.got, progress.done, progress.ended))

    def member(self, key: str, ahead: int = 0) -> Any:
        """Attach a member; return its stream."""
        view = self.registry.match(key)
        stream = view.stream(group="workers", ahead=ahead)
        for member in self.registry._groups().members():
            self.groups.change(member, True)
        return stream

    @property
    def number(self) -> int:
        (member,) = self.registry._groups().members()
        return member.number

    def take(self, name: str, stint: int, first: int, count: int, member: int = 0) -> None:
        jobs = Jobs(ME, 1, THEM, member or self.number, stint, first, count, 0.0, name)
        self.groups.take(jobs_head(jobs) + NIL * count, THEM)


@pytest.fixture
def node() -> Told:
    return Told(Rights("them", publish=("a.**",)))


def test_a_member_holds_no_more_than_it_may_have(node: Told) -> None:
    """What comes beyond that is left, and the sender is told how far the member is."""
    with node.member("a.**", ahead=3) as stream:
        node.take("a.x", 1, 1, 3)
        node.take("a.x", 1, 4, 1)
        assert node.reports == [(1, 3, 0, False)]
        assert len(stream) == 3


def test_without_ahead_it_holds_the_most_that_any_sender_sends(node: Told) -> None:
    with node.member("a.**") as stream:
        for first in range(1, 2 * MOST, MOST // 2):
            node.take("a.x", 1, first, MOST // 2)
        assert len(stream) == MOST


def work(stream: Any) -> None:
    """Take one message, and handle it."""
    stream.get(0)
    with pytest.raises(TimeoutError):
        stream.get(0)


def test_supplies_are_bounded(node: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of names that a peer makes up, those on which all is done are forgotten, oldest first."""
    monkeypatch.setattr(groups, "SUPPLIES_MOST", 8)
    with node.member("a.**") as stream:
        for n in range(100):
            node.take(f"a.{n}", n + 1, 1, 1)
            work(stream)
            supplies = node.groups._supplies[THEM]
            assert len(supplies) <= 8
            names = [name for _, name in supplies]
            assert names == [f"a.{m}" for m in range(n + 1 - len(names), n + 1)]
        assert len(names) > 1


def test_a_forgotten_supply_begins_afresh(node: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender is told that nothing has arrived, and begins another stint upon that."""
    monkeypatch.setattr(groups, "SUPPLIES_MOST", 1)
    with node.member("a.**") as stream:
        for name in ("a.x", "a.y"):
            node.take(name, 1, 1, 1)
            work(stream)
        node.reports.clear()
        node.take("a.x", 1, 2, 1)
        assert node.reports == [(1, 0, 0, False)]
        node.take("a.x", 3, 1, 1)
        work(stream)
        assert node.reports[1:] == [(3, 1, 1, False)]


def test_names_that_all_wait_are_refused(node: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that makes names up, and sends more than is worked on, is refused and counted."""
    monkeypatch.setattr(groups, "SUPPLIES_MOST", 8)
    with node.member("a.**") as stream:
        for n in range(8):
            node.take(f"a.{n}", n + 1, 1, 1)
        with pytest.raises(DecodeError, match="on 8 exchanges already"):
            node.take("a.8", 9, 1, 1)
        node.take("a.7", 8, 2, 1)
        assert len(stream) == 9


@pytest.mark.parametrize("name", ["b", "apart.x"])
def test_only_what_a_peer_may_publish_is_taken(node: Told, name: str) -> None:
    """A frame on another exchange is refused, whatever the member is attached to."""
    with node.member("**") as stream:
        with pytest.raises(DecodeError, match="may not publish"):
            node.take(name, 1, 1, 1)
        assert len(stream) == 0


def test_messages_for_nobody_are_given_back(node: Told) -> None:
    """Of a member that has gone, or that is not attached to the exchange, others do the work."""
    with node.member("a.x") as stream:
        node.take("a.y", 4, 7, 2)
        node.take("a.x", 5, 1, 1, member=node.number + 1)
        assert node.reports == [(4, 6, 0, True), (5, 0, 0, True)]
        assert len(stream) == 0


def test_the_largest_frame_is_read() -> None:
    """Small messages go with a large one; the frame may have all their bytes and its header."""
    head = jobs_head(Jobs(ME, 1, THEM, 1, 1, 1, 1, 0.0, "x" * 255, notes=b"n" * 195))
    frame = head + bytes(MAX_JOBS_BYTES)
    assert read_jobs(frame).body == len(head)

"""The lists that a node tells its peers: on which exchanges it answers, and its group members."""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from zexchange.protocol.requests.listed import OwnList, PeerList
from zexchange.protocol.wire.control import control_frame, read_control
from zexchange.protocol.wire.limits import MAX_MEMBERS, MAX_RESPONDERS
from zexchange.protocol.wire.messages import GroupMember, Members, Responders

ME = b"m" * 16
PLACES = "abcd"


def name_of(place: str) -> str:
    return place


def member_of(place: str) -> GroupMember:
    return GroupMember(place, "workers", PLACES.index(place), 1)


class Lists(RuleBasedStateMachine):
    """A node tells a peer on which exchanges it answers, over a link that loses messages."""

    kind: ClassVar[type[Responders] | type[Members]] = Responders
    entry: Callable[[str], Any] = staticmethod(name_of)

    def __init__(self) -> None:
        super().__init__()
        self.told = {self.entry(place) for place in PLACES[:3]}
        self.permitted = self.told.__contains__
        self.own = OwnList[Any](self.kind)
        self.peer = PeerList[Any](self.permitted, 1000)
        self.resync = False

    @rule(
        steps=st.lists(st.tuples(st.sampled_from(PLACES), st.booleans()), max_size=3),
        arrives=st.booleans(),
        again=st.booleans(),
    )
    def changes(self, steps: list[tuple[str, bool]], arrives: bool, again: bool) -> None:
        """Entries come and go; the message may be lost, or come twice."""
        came, went = self.own.change([(self.entry(place), there) for place, there in steps])
        if not (came or went):
            return
        message = self.own.changed(ME, came, went, self.permitted)
        for _ in range(arrives + (arrives and again)):
            self.resync = not self.take(message) or self.resync

    def take(self, message: Responders | Members) -> bool:
        """Bring a message to the peer, as the bytes that travel."""
        read = read_control(control_frame(message))
        assert isinstance(read, self.kind)
        return self.peer.take(read.number, read.base, read.added, read.removed)

    @rule()
    def pings(self) -> None:
        """A ping has the number of the list: one that was missed is asked for."""
        if self.resync or self.own.number != self.peer.number:
            self.resync = False
            assert self.take(self.own.whole(ME, self.permitted))
            assert self.own.number == self.peer.number

    @invariant()
    def agrees(self) -> None:
        """At the same number both have the same list, as far as the peer may know it."""
        if self.own.number == self.peer.number:
            assert set(self.peer.entries) == self.told & set(self.own.entries)


class MemberLists(Lists):
    """A node tells a peer its members of groups, over a link that loses messages."""

    kind = Members
    entry = staticmethod(member_of)


TestLists = Lists.TestCase
TestMemberLists = MemberLists.TestCase


@pytest.mark.parametrize("most", [MAX_RESPONDERS, MAX_MEMBERS])
def test_a_list_is_bounded(most: int) -> None:
    """A peer that tells ever more entries is believed of as many as a node may have."""
    peer = PeerList[str](lambda name: True, most)
    for n in range(3):
        names = tuple(f"{n}.{i}" for i in range(most))
        assert peer.take(n + 1, n, names, ())
    assert len(peer.entries) == most

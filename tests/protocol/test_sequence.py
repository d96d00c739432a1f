"""Positions against a model of a receiver that knows every name that will ever be used.

The model holds, for each name in force, the number that it expects next, from 1 on for
names that were never sent on; so it has none of the shortcuts of the real thing.
"""

import gc
import itertools
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from strategies import KEYS, NAMES
from taking import take

from tests.support import examples
from zexchange.names import matches
from zexchange.protocol.delivery import sequence
from zexchange.protocol.delivery.recovery import Recovery
from zexchange.protocol.delivery.sequence import (
    Gap,
    Numbering,
    ReceiveCounts,
    ReceiveState,
    SentCounter,
)
from zexchange.protocol.elapsed import Elapsed
from zexchange.protocol.interest.interest import NameSet, PeerInterest
from zexchange.protocol.security.permissions import permitted
from zexchange.protocol.wire.messages import Promise


def ready(positions: ReceiveState, *frame: object) -> list[Gap]:
    """Take a ready, give up at once what it shows to be missing, and return that."""
    gaps = positions.ready(*frame)  # type: ignore[arg-type]
    for gap in gaps:
        assert positions.give_up(gap.name, gap.last) == gap
    return gaps


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 5))))
def test_numbers_are_given_once_and_without_holes(takes: list[tuple[str, int]]) -> None:
    """Each exchange is numbered on its own, from 1, without holes."""
    numbering = Numbering()
    for name, count in takes:
        before = numbering.heads.get(name, 0)
        assert numbering.take(name, count) == before + 1
        assert numbering.heads[name] == before + count


@given(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(KEYS)))
def test_covered_heads(used: set[str], keys: set[str]) -> None:
    """The heads that keys cover are those of the numbered names that some key matches."""
    numbering = Numbering()
    for number, name in enumerate(sorted(used), 1):
        numbering.take(name, number)
    expected = {n: h for n, h in numbering.heads.items() if any(matches(k, n) for k in keys)}
    assert numbering.covered(NameSet(keys)) == expected


@dataclass
class Model:
    """What a receiver must make of what it is given."""

    pending: dict[int, set[str]] = field(default_factory=dict)
    in_force: set[str] = field(default_factory=set)
    expected: dict[str, int] = field(default_factory=dict)
    received: list[tuple[str, int]] = field(default_factory=list)
    lost: list[tuple[str, int]] = field(default_factory=list)
    duplicates: int = 0
    unwanted: int = 0

    def covers(self, name: str) -> bool:
        return any(matches(key, name) for key in self.in_force)

    def expect(self, epoch: int, added: set[str], removed: set[str]) -> None:
        for keys in self.pending.values():
            keys -= removed
        self.in_force -= removed
        waited = {key for keys in self.pending.values() for key in keys} | (added - removed)
        there = self.in_force | waited
        self.expected = {
            n: e for n, e in self.expected.items() if any(matches(key, n) for key in there)
        }
        self.pending[epoch] = set(added)

    def ready(self, epoch: int, heads: dict[str, int]) -> None:
        for at in [at for at in self.pending if at <= epoch]:
            self.in_force |= self.pending.pop(at)
        for name in NAMES:
            if self.covers(name) or name in self.expected:
                head = heads.get(name, 0)
                start = self.expected.setdefault(name, head + 1)
                self.lost += [(name, n) for n in range(start, head + 1)]
                self.expected[name] = max(start, head + 1)

    def receive(self, name: str, first: int, count: int) -> None:
        start = self.expected.get(name)
        if start is None:
            self.unwanted += count
            return
        self.lost += [(name, n) for n in range(start, first)]
        for number in range(first, first + count):
            if number < start:
                self.duplicates += 1
            else:
                self.received.append((name, number))
        self.expected[name] = max(start, first + count)


class Following(RuleBasedStateMachine):
    """One origin, one receiver, and a lane between them that loses and repeats."""

    def __init__(self) -> None:
        super().__init__()
        self.numbering = Numbering()
        self.lane: deque[tuple[str, int, int] | tuple[int, dict[str, int]]] = deque()
        self.positions = ReceiveState()
        self.model = Model()
        self.keys: set[str] = set()
        self.epoch = 0
        self.received: list[tuple[str, int]] = []
        self.lost: list[tuple[str, int]] = []

    @initialize(keys=st.sets(st.sampled_from(KEYS), min_size=1))
    def begin(self, keys: set[str]) -> None:
        self.change(keys, set())

    @rule(name=st.sampled_from(NAMES), count=st.integers(1, 3), fate=st.sampled_from([1, 1, 0, 2]))
    def send(self, name: str, count: int, fate: int) -> None:
        """A frame is under way once, not at all, or twice."""
        first = self.numbering.take(name, count)
        self.lane.extend([(name, first, count)] * fate)

    @rule(name=st.sampled_from(NAMES))
    def beacon(self, name: str) -> None:
        self.lane.append((name, self.numbering.heads.get(name, 0) + 1, 0))

    @rule(added=st.sets(st.sampled_from(KEYS), max_size=3), removed=st.sets(st.sampled_from(KEYS)))
    def change(self, added: set[str], removed: set[str]) -> None:
        removed &= self.keys
        added -= self.keys - removed
        self.keys = (self.keys - removed) | added
        self.epoch += 1
        self.positions.expect(self.epoch, added, removed)
        self.model.expect(self.epoch, set(added), removed)
        self.announce(added)

    def announce(self, keys: set[str]) -> None:
        self.lane.append((self.epoch, self.numbering.covered(NameSet(keys))))

    @rule(count=st.integers(1, 4))
    def deliver(self, count: int) -> None:
        for _ in range(min(count, len(self.lane))):
            self.take(self.lane.popleft())

    def take(self, frame: tuple[str, int, int] | tuple[int, dict[str, int]]) -> None:
        if len(frame) == 2:
            self.note(ready(self.positions, *frame))
            self.model.ready(*frame)
            return
        name, first, count = frame
        skip, gap = take(self.positions, name, first, count)
        self.note([gap] if gap else [])
        self.received += [(name, n) for n in range(first + skip, first + count)]
        self.model.receive(name, first, count)

    def note(self, gaps: list[Gap]) -> None:
        self.lost += [(gap.name, n) for gap in gaps for n in range(gap.first, gap.last + 1)]

    @rule(at=st.integers(0, 5))
    def lose(self, at: int) -> None:
        if at < len(self.lane) and len(self.lane[at]) == 3:
            del self.lane[at]

    @rule(at=st.integers(0, 5), to=st.integers(0, 5))
    def repeat(self, at: int, to: int) -> None:
        if at < len(self.lane) and len(self.lane[at]) == 3:
            self.lane.insert(at + to, self.lane[at])

    @rule()
    def cut(self) -> None:
        """A reconnect loses what was under way and is answered with all heads."""
        self.lane.clear()
        self.announce(self.keys)

    @invariant()
    def agrees(self) -> None:
        model, positions = self.model, self.positions
        assert self.received == model.received
        assert sorted(self.lost) == sorted(model.lost)
        assert set(positions.in_force) == model.in_force
        assert positions.unwanted == model.unwanted
        assert sum(tally.duplicates for tally in positions.tallies.values()) == model.duplicates
        for name, position in positions.positions.items():
            assert position + 1 == model.expected[name]
        assert all(model.expected[n] == 1 for n in model.expected.keys() - positions.positions)

    @invariant()
    def counts_once(self) -> None:
        counted = self.received + self.lost
        assert len(counted) == len(set(counted))
        for name, tally in self.positions.tallies.items():
            assert tally.received == sum(n == name for n, _ in self.received)
            assert tally.lost == sum(n == name for n, _ in self.lost)


TestFollowing = Following.TestCase
TestFollowing.settings = settings(max_examples=examples(80), stateful_step_count=40, deadline=None)


@pytest.fixture
def following() -> ReceiveState:
    """A receiver to which ``a`` was promised from number 6 on."""
    positions = ReceiveState()
    positions.expect(1, ["a"], [])
    ready(positions, 1, {"a": 5})
    return positions


def test_counting_starts_behind_the_announced_head(following: ReceiveState) -> None:
    """Frames up to the head that a ready announced are not for us."""
    assert take(following, "a", 4, 3) == (2, None)
    assert following.positions == {"a": 6}


def test_a_gap_has_its_exact_range(following: ReceiveState) -> None:
    """A later frame exposes exactly what is missing in front of it."""
    assert take(following, "a", 9, 2) == (0, Gap("a", 6, 8))


def test_a_single_missing_message_is_a_gap(following: ReceiveState) -> None:
    """One message missing is a gap of one; none missing is no gap."""
    assert take(following, "a", 6, 1) == (0, None)
    assert take(following, "a", 8, 1) == (0, Gap("a", 7, 7))


def test_a_beacon_exposes_a_lost_tail(following: ReceiveState) -> None:
    """A frame without values, at the head plus one, exposes what was sent last and lost."""
    assert take(following, "a", 8, 0) == (0, Gap("a", 6, 7))
    assert take(following, "a", 8, 0) == (0, None)


def test_a_repeated_ready_exposes_a_gap(following: ReceiveState) -> None:
    """The heads told again after a reconnect expose what was lost in it."""
    assert ready(following, 1, {"a": 7}) == [Gap("a", 6, 7)]


def test_what_was_never_seen_is_missed_too() -> None:
    """Messages lost on a name promised before its first message are a gap from 1."""
    positions = ReceiveState()
    positions.expect(1, ["a.*"], [])
    ready(positions, 1, {})
    assert ready(positions, 1, {"a.x": 3}) == [Gap("a.x", 1, 3)]


def test_a_name_under_a_pattern_keeps_its_position(following: ReceiveState) -> None:
    """What is covered twice is followed on when one of its covers goes."""
    following.expect(2, ["**"], [])
    ready(following, 2, {"a": 5})
    take(following, "a", 6, 1)
    following.expect(3, [], ["a"])
    ready(following, 3, {})
    assert take(following, "a", 7, 1) == (0, None)


def test_the_last_cover_takes_the_position_along(following: ReceiveState) -> None:
    """A name wanted anew starts at the new head; old frames until then are not for us."""
    following.expect(2, ["a"], ["a"])
    assert take(following, "a", 6, 2) == (2, None)
    assert ready(following, 2, {"a": 7}) == []
    assert take(following, "a", 8, 1) == (0, None)
    assert following.unwanted == 2


# ------------------------------------------------------------------- promises that were lost


def test_a_lost_ready_does_not_swallow_what_it_promised() -> None:
    """What was sent behind a first ready, and lost together with it, is a gap."""
    positions = ReceiveState()
    positions.expect(1, ["a"], [])
    assert ready(positions, 1, {"a": 7}, [Promise(1, {"a": 5})]) == [Gap("a", 6, 7)]
    assert take(positions, "a", 8, 1) == (0, None)


def test_a_name_that_has_not_moved_starts_at_its_head() -> None:
    """A promise leaves out the names of which nothing was sent since."""
    positions = ReceiveState()
    positions.expect(1, ["a", "b"], [])
    assert ready(positions, 1, {"a": 7, "b": 3}, [Promise(1, {"a": 5})]) == [Gap("a", 6, 7)]
    assert take(positions, "b", 4, 1) == (0, None)


def test_a_promise_to_an_earlier_subscription_is_not_for_this_one() -> None:
    """A key dropped and wanted again starts where its new epoch was promised first."""
    positions = ReceiveState()
    positions.expect(1, ["a"], [])
    positions.expect(2, ["a"], ["a"])
    promised = [Promise(1, {"a": 2}), Promise(2, {"a": 5})]
    assert ready(positions, 2, {"a": 7}, promised) == [Gap("a", 6, 7)]


@given(st.lists(st.sampled_from(["send", "want", "again", "lost", "ready"]), max_size=30))
def test_every_number_behind_the_first_promise_is_accounted_for(steps: list[str]) -> None:
    """However many readies are lost, one gap starts exactly where the key was promised first."""
    numbering, peer, positions = Numbering(), PeerInterest(0), ReceiveState()
    epoch, promised_at, missing = 0, None, []
    for step in [*steps, "want", "ready"]:
        if step == "send":
            numbering.take("a", 1)
        elif step == "want" or (step == "again" and epoch):
            key = "a" if step == "again" or not epoch else f"other{epoch}"
            epoch += 1
            change = (epoch, [key], [key] if step == "again" else [])
            positions.expect(*change)
            peer.change(*change)
            promised_at = None if key == "a" else promised_at
        elif epoch:
            heads = numbering.covered(NameSet(peer.unproven(epoch)))
            behind = [promise.behind(heads) for promise in peer.promised]
            peer.announce(epoch, heads)
            peer.announced = 0  # the connection is lost, and with it perhaps the ready
            if promised_at is None:
                promised_at = numbering.heads.get("a", 0)
            if step == "ready":
                gaps = ready(positions, epoch, heads, behind)
                missing = [n for gap in gaps for n in range(gap.first, gap.last + 1)]
                assert missing == list(range(promised_at + 1, numbering.heads.get("a", 0) + 1))
                promised_at = numbering.heads.get("a", 0)
                peer.confirm(epoch)


def test_a_key_that_goes_does_not_bring_back_what_has_come() -> None:
    """What one key covered is not new to another that was promised it meanwhile."""
    positions = ReceiveState()
    positions.expect(1, ["a.*"], [])
    positions.ready(1, {"a.x": 0})
    positions.expect(2, ["a.**"], [])
    take(positions, "a.x", 1, 10)  # the promise of epoch 2, at head 4, was lost on its way
    positions.expect(3, [], ["a.*"])
    positions.ready(3, {"a.x": 12}, [Promise(2, {"a.x": 4})])
    assert positions.positions == {"a.x": 10}


# --------------------------------------------------------------------- peers that come back


def test_who_comes_back_goes_on_where_it_stood() -> None:
    """On what was wanted all the time: not on what was dropped meanwhile, or before its ready."""
    positions = ReceiveState()
    positions.expect(1, ["a.*", "b", "c"], [])
    positions.ready(1, {"a.x": 3, "b": 5, "c": 7})
    positions.expect(2, ["b"], ["b"])  # while it is away
    positions.expect(3, ["c"], ["c"])
    assert positions.ready(3, {"a.x": 9, "b": 9, "c": 9}) == [Gap("a.x", 4, 9)]
    assert positions.positions == {"a.x": 3, "b": 9, "c": 9}


def test_an_older_ready_takes_nothing_along() -> None:
    """One that brings nothing into force leaves a peer that is back where it stood."""
    positions = ReceiveState()
    positions.expect(1, ["x"], [])
    positions.ready(1, {"x": 10})
    positions.expect(5, [], [])  # a new epoch, because the peer is met again
    assert positions.ready(4, {}) == []
    assert positions.ready(5, {"x": 60}) == [Gap("x", 11, 60)]


@pytest.mark.parametrize("dropped", ["**", "x"])
def test_a_key_that_goes_leaves_what_another_covers(dropped: str) -> None:
    """Also while the peer is away."""
    positions = ReceiveState()
    positions.expect(1, ["x", "**"], [])
    positions.ready(1, {"x": 10})
    positions.expect(2, [], [dropped])
    assert positions.ready(2, {"x": 60}) == [Gap("x", 11, 60)]


@pytest.mark.parametrize("together", [False, True])
def test_a_key_that_goes_before_another_ones_ready_leaves_it_what_both_cover(
    together: bool,
) -> None:
    """Wanted all the time: what was lost meanwhile is missed, what begins is from its first on."""
    positions = ReceiveState()
    positions.expect(1, ["**"], [])
    positions.ready(1, {"x": 10})
    if together:
        positions.expect(2, ["x", "a.*"], ["**"])
    else:
        positions.expect(2, ["x", "a.*"], [])
        positions.expect(3, [], ["**"])
    assert positions.where("x") == 10
    assert positions.where("b") is None
    assert positions.ready(3, {"x": 60, "a.y": 2}) == [Gap("x", 11, 60), Gap("a.y", 1, 2)]
    assert positions.where("b") is None


def test_a_promise_to_a_key_that_went_holds_for_another_that_covers_the_same() -> None:
    """Though neither had its ready: the name was wanted all the time since that promise."""
    positions = ReceiveState()
    positions.expect(2, ["a.*", "a.x"], [])
    positions.expect(5, [], ["a.x"])
    positions.expect(6, ["a.x"], [])
    positions.expect(7, [], ["a.*"])
    promised = [Promise(2, {"a.x": 0}), Promise(6, {"a.x": 1})]
    assert ready(positions, 7, {"a.x": 2}, promised) == [Gap("a.x", 1, 2)]
    assert positions._ended == []


def test_what_begins_while_a_peer_is_away_is_missed_from_the_first_message_on() -> None:
    """A pattern was promised names that nothing had been sent on."""
    positions = ReceiveState()
    positions.expect(1, ["a.*"], [])
    positions.ready(1, {})
    positions.expect(2, [], [])
    assert positions.ready(2, {"a.x": 4}) == [Gap("a.x", 1, 4)]


def test_a_promise_whose_ready_never_came_holds_for_who_is_back() -> None:
    """The key is waited for from the epoch in which it was added."""
    positions = ReceiveState()
    positions.expect(1, ["x"], [])
    positions.expect(2, [], [])
    promised = [Promise(1, {"x": 3}), Promise(2, {"x": 8})]
    assert positions.ready(2, {"x": 9}, promised) == [Gap("x", 4, 9)]


def test_who_was_away_for_too_long_has_a_gap_without_a_beginning() -> None:
    """On what was in force all the time; what is wanted anew starts at its head."""
    former = ReceiveState()
    former.expect(1, ["a.*", "b", "c"], [])
    former.ready(1, {"a.x": 3, "b": 5, "c": 2})
    take(former, "a.x", 4, 2)
    former.lapse()
    assert former.positions == {}
    former.drop(["b"], NameSet(["a.*", "c"]))
    positions = ReceiveState()
    positions.count_on(former)
    positions.expect(3, ["a.*", "b"], [])
    assert positions.ready(3, {"a.x": 9, "b": 9, "a.y": 1}) == [Gap("a.x", 0, 9), Gap("a.y", 0, 1)]
    assert positions.positions == {"a.x": 9, "b": 9, "a.y": 1}
    assert positions.tallies["a.x"].received == 2
    assert positions.ready(3, {"a.x": 11}) == [Gap("a.x", 10, 11)]


def test_what_was_promised_before_too_long_an_absence_and_not_heard_of_has_no_beginning() -> None:
    """The ready of a key that was added just before may have been lost, with what came after it."""
    former = ReceiveState()
    former.expect(1, ["a"], [])
    former.ready(1, {"a": 3})
    former.expect(2, ["b", "c"], [])
    former.lapse()
    former.drop(["c"], NameSet(["a", "b"]))
    positions = ReceiveState()
    positions.count_on(former)
    positions.expect(4, ["a", "b", "c"], [])
    heads = {"a": 3, "b": 2, "c": 5}
    assert positions.ready(4, heads) == [Gap("a", 0, 3), Gap("b", 0, 2)]
    assert positions.positions == heads


@pytest.mark.parametrize("where", ["while it is away", "when it is back"])
def test_what_is_unsure_is_so_under_another_key(where: str) -> None:
    """A name that was wanted all the time, by one key after another; not one that was not."""
    former = ReceiveState()
    former.expect(1, ["a.x", "b"], [])
    former.ready(1, {})
    former.lapse()
    positions = ReceiveState()
    if where == "while it is away":
        former.drop(["a.x", "b"], NameSet(["a.*"]))
        positions.count_on(former)
        positions.expect(2, ["a.*"], [])
        positions.expect(3, ["b"], [])
    else:
        positions.count_on(former)
        for key in ("a.x", "b"):
            positions.expect(1, [key], [])
        positions.expect(2, ["a.*"], ["a.x", "b"])
        positions.expect(3, ["b"], [])
    heads = {"a.x": 5, "a.y": 3, "b": 2}
    assert positions.ready(3, heads) == [Gap("a.x", 0, 5)]
    assert positions.positions == heads


def test_what_is_unsure_ends_with_the_last_key() -> None:
    """Who wants it again later begins with its head."""
    former = ReceiveState()
    former.expect(1, ["a.x"], [])
    former.lapse()
    former.drop(["a.x"], NameSet(["a.*"]))
    former.drop(["a.*"], NameSet())
    positions = ReceiveState()
    positions.count_on(former)
    positions.expect(5, ["a.*"], [])
    assert positions.ready(5, {"a.x": 5}) == []


def test_peers_that_have_left_have_as_many_exchanges_as_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else many that come and go would each leave thousands of sums behind, for good."""
    monkeypatch.setattr(sequence, "IDLE_MOST", 10)
    former = []
    for peer in range(20):
        positions = ReceiveState()
        positions.expect(1, ["**"], [])
        positions.ready(1, {})
        for name in range(4):
            positions.where(f"{peer}.{name}")
            take(positions, f"{peer}.{name}", 1, 2)
        positions.lapse()
        former.append(positions)
        sequence.count_together(former)
    assert [len(positions.tallies) for positions in former] == [0] * 18 + [4, 4]
    sums = [sum(tally.received for tally in p.counted().values()) for p in former]
    assert sums == [8] * 20


def test_who_may_do_something_else_goes_on_with_what_it_still_may() -> None:
    """What it might not publish on before is taken from where it is when that is proven."""
    positions = ReceiveState()
    positions.permit(("a", "b.*"), 0)
    positions.admits = lambda name: permitted(positions.publish, name)
    positions.expect(1, ["**"], [])
    positions.ready(1, {"a": 3, "b.x": 5})
    positions.permit(("b.*", "c"), 2)
    positions.expect(2, [], [])
    assert positions.where("a") is None
    assert positions.where("c") is None
    assert positions.ready(1, {"c": 7}) == []  # an older one
    assert positions.where("c") is None
    assert positions.ready(2, {"b.x": 6, "b.y": 2, "c": 9, "a": 8}) == [
        Gap("b.x", 6, 6),
        Gap("b.y", 1, 2),
    ]
    assert positions.positions == {"b.x": 5, "b.y": 0, "c": 9}
    positions.permit(None, 3)
    assert positions.ready(3, {"a": 20, "c": 10}) == [Gap("c", 10, 10)]
    assert positions.positions["a"] == 20


def test_a_key_that_comes_and_goes_leaves_nothing_with_who_is_away() -> None:
    """However many epochs there are before it is back."""
    positions = ReceiveState()
    for epoch in range(1, 1000):
        positions.expect(epoch, [f"reply.{epoch}"], [f"reply.{epoch - 1}"])
    assert len(positions._pending) == 1


def test_what_is_sent_while_a_peer_is_away_counts_when_it_is_back() -> None:
    """What began meanwhile, too; not what it no longer wants, nor what it did not want before."""
    numbering, account = Numbering(), SentCounter()
    numbering.take("a.x", 3)
    account.promise(NameSet(["a.*", "b"]), numbering)
    numbering.take("a.x", 2)
    account.leave(numbering, {"a.x": 4})
    assert account.unacknowledged == {"a.x": 1}
    for name in ("a.x", "a.y", "b", "c"):
        numbering.take(name, 4)
    assert account.counts(numbering) == {"a.x": 2}
    account.promise(NameSet(["a.*", "c"]), numbering)
    assert account.counts(numbering) == {"a.x": 6, "a.y": 4}


def test_what_is_sent_to_who_is_away_for_too_long_does_not_count() -> None:
    """It goes on at the heads as they are when it is back."""
    numbering, account = Numbering(), SentCounter()
    account.promise(NameSet(["a.*"]), numbering)
    numbering.take("a.x", 2)
    account.leave(numbering, {})
    numbering.take("a.x", 4)
    account.lapse()
    account.promise(NameSet(["a.*"]), numbering)
    numbering.take("a.x", 1)
    assert account.counts(numbering) == {"a.x": 3}


def test_what_no_exchange_can_be_called_is_not_for_us() -> None:
    """A frame or head on a pattern, or no name at all, is unwanted, whatever we want."""
    positions = ReceiveState()
    positions.expect(1, ["**"], [])
    bad = ("*", "a.**", "", "a\0b", "x" * 300)
    assert positions.ready(1, dict.fromkeys(bad, 7)) == []
    for name in bad:
        assert positions.where(name) is None
        assert take(positions, name, 1, 2) == (2, None)
    assert positions.positions == {}
    assert positions.where("a") == 0


def test_a_ready_of_a_later_account_makes_unsure_where_we_stand() -> None:
    """Its origin had forgotten us; a ready that does not say, or is of an earlier one, does not."""
    positions = ReceiveState()
    positions.expect(1, ["a"], [])
    assert [positions.outlived(account) for account in (0, 2, 2, 0, 1)] == [False] * 5
    positions.ready(1, {"a": 3})
    take(positions, "a", 4, 2)
    positions.expect(2, ["b"], [])
    assert positions.outlived(4)
    positions.begin_again()
    assert positions.positions == {}
    assert positions.ready(2, {"a": 7, "b": 2, "c": 1}) == [Gap("a", 0, 7), Gap("b", 0, 2)]
    assert positions.positions == {"a": 7, "b": 2}
    assert positions.counted()["a"] == ReceiveCounts(received=2)
    assert not positions.outlived(4)
    assert positions.ready(2, {"a": 9, "b": 2}) == [Gap("a", 8, 9)]


def test_what_waits_for_a_later_epoch_still_does_when_we_begin_again() -> None:
    positions = ReceiveState()
    positions.expect(1, ["a"], [])
    positions.outlived(1)
    positions.ready(1, {})
    positions.expect(2, ["b"], [])
    assert positions.outlived(2)
    positions.begin_again()
    assert positions.ready(1, {"a": 1}) == [Gap("a", 0, 1)]
    assert take(positions, "b", 1, 1) == (1, None)
    assert positions.ready(2, {"b": 1}) == [Gap("b", 0, 1)]


def test_other_threads_count_while_names_come() -> None:
    """The collector may run, and let another thread go on, wherever something is made."""
    positions, numbering = ReceiveState(), Numbering()
    recovery = Recovery(bytes(16), positions, 1.0, Elapsed())
    for n in range(2000):
        positions.tallies[f"n{n}"], positions.positions[f"n{n}"] = ReceiveCounts(), 0
        numbering.take(f"n{n}", 1)
        recovery.park(f"n{n}", 2, 2, b"", 0.0)
    fresh = itertools.count()

    def another(phase: str, info: object) -> None:
        name = f"fresh{next(fresh)}"
        positions.tallies[name] = ReceiveCounts()
        numbering.heads[name] = 1
        recovery.missing[name] = recovery.missing["n0"]

    before = gc.get_threshold()
    gc.callbacks.append(another)
    gc.set_threshold(50)
    try:
        counts = len(positions.counted()), len(numbering.covered(NameSet(["n*", "**"])))
        assert min(*counts, len(recovery.parked())) >= 2000
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(another)

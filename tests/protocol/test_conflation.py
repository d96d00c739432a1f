"""Exchanges of which only the newest message counts: both halves, without sockets."""

from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from zexchange.history import Frame
from zexchange.protocol.delivery.conflation import (
    ANSWERS_MOST,
    ASK_AGAIN,
    FORMER_MOST,
    LATE,
    Claims,
    Offers,
)

X = "camera"


def frame(number: int, name: str = X) -> Frame:
    return Frame(name, number, number, b"")


# ------------------------------------------------------------------------- the origin


def test_one_offer_is_out_until_somebody_claims():
    """A receiver that has stopped has one offer before it, however much is sent."""
    offers = Offers()
    assert [offers.put(frame(n)) for n in (1, 2, 3)] == [True, False, False]
    assert offers.claim(b"a", X, 1).last == 3
    assert [offers.put(frame(n)) for n in (4, 5)] == [True, False]


def test_a_message_that_comes_again_is_offered_again():
    """Its sender was interrupted, perhaps before it could publish the offer."""
    offers = Offers()
    assert [offers.put(frame(n)) for n in (1, 1, 2, 3, 3)] == [True, True, False, False, True]


def test_a_new_receiver_is_offered_the_next_message():
    """Otherwise the offer would be out that only a stopped receiver has."""
    offers = Offers()
    assert offers.put(frame(1))
    offers.renew()
    assert offers.put(frame(2))


def test_a_claim_of_what_nobody_has_sent_gets_nothing():
    """Of an exchange that is not conflated, and after the newest message; nothing is kept of it."""
    offers = Offers()
    assert offers.claim(b"a", X, 1) is None
    offers.put(frame(1))
    assert offers.claim(b"a", X, 2) is None
    offers.acknowledged(b"a", {X: 7, "other": 1})
    assert not offers.counts()
    assert not offers._taken


@pytest.mark.parametrize(
    ("steps", "conflated"),
    [
        ([("claim", 1, 5), ("ack", 5)], 4),
        ([("claim", 1, 5), ("ack", 0)], 0),  # not taken yet
        ([("claim", 1, 5), ("claim", 6, 9), ("ack", 9)], 7),
        ([("claim", 1, 5), ("claim", 1, 9), ("ack", 9)], 8),  # it dropped the first
        ([("claim", 1, 5), ("claim", 1, 9), ("ack", 5), ("ack", 9)], 7),  # it took both
        ([("claim", 1, 5), ("claim", 1, 5), ("ack", 5)], 4),  # the same one twice
        ([("claim", 1, 5), ("ack", 8)], 4),  # 6 to 8 came as on an ordinary exchange
        ([("claim", 3, 5), ("ack", 5)], 2),  # promised from 3 on
    ],
)
def test_what_a_peer_passed_over_is_counted_when_it_says_so(steps, conflated):
    """Not when an answer is sent: it may never be taken."""
    offers = Offers()
    for kind, number, *newest in steps:
        if kind == "claim":
            offers.put(frame(newest[0]))
            assert offers.claim(b"a", X, number).last == newest[0]
        else:
            offers.acknowledged(b"a", {X: number})
    assert offers.counts() == ({(X, b"a"): conflated} if conflated else {})


def test_a_peer_that_asks_again_is_known():
    """Whatever it says of how far it is: to be sent a large message again is bounded."""
    offers = Offers()
    offers.put(frame(5))
    assert not offers.answered(b"a", X)
    offers.claim(b"a", X, 1)
    assert offers.answered(b"a", X)
    offers.acknowledged(b"a", {X: 5})
    assert offers.answered(b"a", X)
    offers.put(frame(6))
    assert not offers.answered(b"a", X)
    assert not offers.answered(b"b", X)


def test_a_peer_that_never_says_how_far_it_is_costs_a_few_numbers():
    """It may claim the same again and again while messages go on."""
    offers = Offers()
    for n in range(1, 1000):
        offers.put(frame(n))
        offers.claim(b"a", X, 1)
    assert len(offers._taken[b"a"][X].answers) == ANSWERS_MOST


def test_an_exchange_that_goes_leaves_its_count_and_nothing_else():
    """Under the empty name, as the other counts of forgotten exchanges."""
    offers = Offers()
    offers.put(frame(5))
    offers.claim(b"a", X, 1)
    offers.acknowledged(b"a", {X: 5})
    offers.forget(X)
    assert offers.counts() == {("", b"a"): 4}
    assert X not in offers.newest
    assert offers.claim(b"a", X, 6) is None
    assert offers.put(frame(6))


def test_a_peer_that_returns_goes_on_and_one_of_many_that_left_is_forgotten():
    """What it passed over while it was away counts, too."""
    offers = Offers()
    offers.put(frame(2))
    offers.claim(b"a", X, 1)
    offers.leave(b"a")
    offers.put(frame(9))
    offers.claim(b"a", X, 3)
    offers.acknowledged(b"a", {X: 9})
    assert offers.counts() == {(X, b"a"): 7}
    for n in range(FORMER_MOST + 1):
        offers.claim(b"%d" % n, X, 1)
        offers.leave(b"%d" % n)
    assert b"a" in offers._taken  # it is here
    assert len(offers._taken) == FORMER_MOST + 1


# ------------------------------------------------------------------------ the receiver


def test_a_claim_is_repeated_only_after_a_second():
    """The answer may be large and slow; a second one would wait after it."""
    claims = Claims()
    claims.offer(X, 5)
    assert claims.due(X, 0, 10.0)
    assert not claims.due(X, 0, 10.0 + ASK_AGAIN / 2)
    assert claims.due(X, 0, 10.0 + ASK_AGAIN)
    assert not claims.due(X, 0, 10.0 + 2 * ASK_AGAIN)
    assert claims.due(X, 0, 10.0 + 3 * ASK_AGAIN)
    assert claims.waiting


def test_nothing_is_asked_for_that_is_here_or_unknown():
    """Neither on an exchange that is not conflated, nor up to our position."""
    claims = Claims()
    assert not claims.due(X, 0, 0.0)
    claims.offer(X, 5)
    claims.offer(X, 3)
    assert claims.due(X, 4, 0.0)
    assert not claims.due(X, 5, 9.0)
    assert not claims.waiting


def test_a_late_answer_is_dropped_once():
    """It is stale; the answer to the next claim is taken, or a slow link would bring nothing."""
    claims = Claims()
    claims.offer(X, 5)
    claims.due(X, 0, 0.0)
    assert not claims.arrived(X, 5, LATE * 2)
    assert claims.due(X, 0, LATE * 2)
    assert claims.arrived(X, 7, LATE * 4)
    claims.offer(X, 8)
    assert claims.due(X, 7, 10.0)
    assert claims.arrived(X, 8, 10.0 + LATE * 3)  # on this link that is usual


def test_a_repeated_claim_does_not_make_its_answer_early():
    """A process that was stopped may ask again before it finds the answer that waited for it."""
    claims = Claims()
    claims.offer(X, 5)
    claims.due(X, 0, 0.0)
    assert claims.due(X, 0, 6.0)
    assert not claims.arrived(X, 5, 6.0)


def test_an_origin_is_told_of_an_answer_that_may_be_one_of_several():
    """After a claim that was repeated, and of an answer that nobody waited for."""
    claims = Claims()
    claims.offer(X, 5)
    claims.due(X, 0, 0.0)
    claims.arrived(X, 5, 0.0)
    assert not claims.doubtful
    claims.arrived(X, 6, 0.0)
    assert claims.doubtful
    claims.offer(X, 9)
    claims.due(X, 6, 0.0)
    claims.due(X, 6, ASK_AGAIN)
    claims.arrived(X, 9, ASK_AGAIN)
    assert claims.doubtful


def test_what_is_no_longer_wanted_is_forgotten():
    """With the claims that wait for an answer."""
    claims = Claims()
    for name in ("a", "b"):
        claims.offer(name, 5)
        claims.due(name, 0, 0.0)
    claims.keep({"b": 0})
    assert list(claims.waiting) == ["b"]
    assert list(claims.lacking({"b": 0})) == [("b", 5)]
    assert list(claims.lacking({"b": 5})) == []
    assert claims.forget("b") == 5
    assert claims.forget("b") == 0
    assert not claims.waiting
    assert "b" not in claims


# ----------------------------------------------------------------------- both together


@dataclass
class Viewer:
    """A receiver, and what is on its way to it and from it."""

    begun: int
    """The head when it was ready: messages after that are for it."""
    position: int
    claims: Claims = field(default_factory=Claims)
    offers: deque[int] = field(default_factory=deque)
    answers: deque[int] = field(default_factory=deque)
    asked: deque[int] = field(default_factory=deque)
    got: list[int] = field(default_factory=list)
    conflated: int = 0
    stopped: bool = False
    stopped_at: float = 0.0
    resumed: int = 0
    """If it was resumed after a long stop, and has got nothing since: the head at that moment."""


class Conflation(RuleBasedStateMachine):
    """One origin and some viewers, which join, stop, go on and leave; offers may be lost."""

    def __init__(self) -> None:
        super().__init__()
        self.offers, self.head, self.now = Offers(), 0, 0.0
        self.viewers: dict[bytes, Viewer] = {}
        self.ids = 0

    @rule(count=st.integers(1, 5), lost=st.booleans())
    def send(self, count, lost):
        """Send, and publish an offer if that is due. It may be lost on the way to the first."""
        for _ in range(count):
            self.head += 1
            if self.offers.put(frame(self.head)):
                for viewer in list(self.viewers.values())[lost:]:
                    viewer.offers.append(self.head)

    @precondition(lambda self: len(self.viewers) < 3)
    @rule()
    def join(self):
        self.ids += 1
        self.viewers[b"%d" % self.ids] = Viewer(self.head, self.head)
        self.offers.renew()

    def one(self, data, stopped=False):
        there = [node for node, v in self.viewers.items() if v.stopped is stopped]
        return data.draw(st.sampled_from(there)) if there else None

    @rule(data=st.data())
    def leave(self, data):
        node = self.one(data)
        if node is not None:
            self.viewers.pop(node)
            self.offers.leave(node)

    @rule(data=st.data())
    def stop(self, data):
        node = self.one(data)
        if node is not None:
            self.viewers[node].stopped, self.viewers[node].stopped_at = True, self.now

    @rule(data=st.data())
    def resume(self, data):
        node = self.one(data, stopped=True)
        if node is not None:
            viewer = self.viewers[node]
            viewer.stopped = False
            # A viewer that is stopped once more right after that takes what it then finds.
            claim = viewer.claims._claims.get(X)
            patience = 0.0 if claim is None else max(LATE, 2 * claim.usual)
            excused = claim is not None and claim.excused
            long = self.now - viewer.stopped_at > patience and not excused
            viewer.resumed = self.head if long else 0

    @rule(seconds=st.sampled_from([0.01, 0.1, 1.0, 7.0]))
    def wait(self, seconds):
        """Time passes only when nobody who runs has anything to take: else it would be late."""
        while any(self.step(node) for node in list(self.viewers)):
            pass
        self.now += seconds

    @rule(data=st.data())
    def turn(self, data):
        node = self.one(data)
        if node is not None:
            self.step(node)

    @rule()
    def beacon(self):
        """Offer again to all that lack something, as happens twice a second."""
        for viewer in self.viewers.values():
            if viewer.position < self.head:
                viewer.offers.append(self.head)

    def step(self, node):
        """Let one thing happen at a viewer, or to its claims; return whether anything did."""
        viewer = self.viewers[node]
        if viewer.asked:
            first = viewer.asked.popleft()
            newest = self.offers.claim(node, X, first)
            if newest is not None:
                viewer.answers.append(newest.last)
            return True
        if viewer.stopped or not (viewer.offers or viewer.answers):
            return False
        if viewer.answers:  # a worst case: what is stale comes before the offers that would tell
            number = viewer.answers.popleft()
            if viewer.claims.arrived(X, number, self.now) and number > viewer.position:
                viewer.conflated += number - viewer.position - 1
                viewer.position = number
                viewer.got.append(number)
                if viewer.claims.doubtful:
                    self.offers.acknowledged(node, {X: number})
                if viewer.resumed:
                    assert number >= viewer.resumed
                    viewer.resumed = 0
        else:
            viewer.claims.offer(X, viewer.offers.popleft())
        if viewer.claims.due(X, viewer.position, self.now):
            viewer.asked.append(viewer.position + 1)
        return True

    @invariant()
    def in_order_and_bounded(self):
        for viewer in self.viewers.values():
            assert viewer.got == sorted(set(viewer.got))
            assert len(viewer.got) + viewer.conflated == viewer.position - viewer.begun
            assert len(viewer.answers) + len(viewer.asked) <= 2

    def teardown(self):
        """At rest everybody has the newest message, and both ends count alike."""
        for viewer in self.viewers.values():
            viewer.stopped = False
        for _ in range(5):
            self.now += 20.0  # for claims that are to be repeated
            self.beacon()
            while any(self.step(node) for node in list(self.viewers)):
                pass
        for node, viewer in self.viewers.items():
            assert viewer.position == self.head
            self.offers.acknowledged(node, {X: viewer.position})
            assert self.offers.counts().get((X, node), 0) == viewer.conflated


TestConflation = Conflation.TestCase
TestConflation.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)

"""Exchanges that their origin forgets, and that are then used again, or not."""

from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from taking import take

from tests.support import examples
from zexchange.protocol.codec.values import decode_batch, encode
from zexchange.protocol.delivery.sequence import Numbering, ReceiveState, SentCounter
from zexchange.protocol.interest.interest import NameSet, PeerInterest
from zexchange.protocol.session.effects import HaveForgotten, Send
from zexchange.protocol.session.forgetting import AGAIN, PORTION, WAITING_MOST
from zexchange.protocol.session.session import Session
from zexchange.protocol.wire import data as wire
from zexchange.protocol.wire import messages as v

ME, THEM = b"m" * 16, b"t" * 16
HERE, THERE = v.Address("tcp://h:1", "tcp://h:2"), v.Address("tcp://t:1", "tcp://t:2")
NAMES = ("a", "a.x", "b")
KEYS = ("a", "a.x", "a.*", "**")
which = st.integers(0, 3)


class Receiver:
    """One receiver, at both ends: what it knows, and what the origin knows of it.

    One that is ``old`` knows nothing of starts: to it, a number is all there is.
    """

    def __init__(self, old: bool) -> None:
        self.old = old
        self.positions, self.epoch, self.keys = ReceiveState(), 1, set[str]()
        self.interest, self.account = PeerInterest(1), SentCounter()
        self.acked: dict[str, int] = {}
        self.wire: deque[bytes] = deque()
        self.got: dict[str, list[int]] = {}
        self.lost: dict[str, set[int]] = {}
        self.owed: dict[str, list[int]] = {}
        self.away = False


class Forgetful(RuleBasedStateMachine):
    """An origin that forgets whatever it may, as soon as it may, and receivers of both kinds.

    Each must get every message that it was promised once, and in order, or be told of a loss.
    """

    @initialize(kinds=st.lists(st.sampled_from([False, False, True]), min_size=1, max_size=3))
    def begin(self, kinds: list[bool]) -> None:
        self.numbering, self.serial = Numbering(), count(1)
        self.kept: dict[str, dict[int, int]] = {}
        self.receivers = [Receiver(old) for old in kinds]
        for number, receiver in enumerate(self.receivers):
            self.announce(receiver)
            self.change(number, KEYS[-1 - number])

    def receiver(self, number: int) -> Receiver:
        return self.receivers[number % len(self.receivers)]

    # ------------------------------------------------------------------------- the origin

    def announce(self, receiver: Receiver) -> None:
        """Answer the token of a connection on which nothing is under way."""
        interest, numbering = receiver.interest, self.numbering
        keys = NameSet(interest.unproven(receiver.epoch))
        receiver.account.promise(NameSet(interest.held(receiver.epoch)), numbering)
        if receiver.old:
            receiver.account.lasting.update(interest.held(receiver.epoch))
        heads = numbering.covered(keys)
        promised = tuple(promise.behind(heads) for promise in interest.promised)
        starts = {name: numbering.starts[name] for name in heads if name in numbering.starts}
        told = heads
        if receiver.old:
            promised = tuple(v.Promise(p.epoch, numbering.numbers(p.heads)) for p in promised)
            told, starts = numbering.numbers(heads), {}
        ready = v.Ready(THEM, receiver.epoch, ME, told, promised, starts)
        receiver.wire.append(wire.ready_frame(ready))
        interest.announce(receiver.epoch, heads)

    @rule(name=st.sampled_from(NAMES), number=st.integers(1, 3))
    def send(self, name: str, number: int) -> None:
        serials = [next(self.serial) for _ in range(number)]
        first = self.numbering.take(name, number)
        start = self.numbering.start(name)
        kept = self.kept.setdefault(name, {})
        kept.update(enumerate(serials, first))
        head = wire.data_head(wire.topic(name), ME, first, number, 0.0, 0, start)
        frame = head + b"".join(map(encode, serials))
        for receiver in self.receivers:
            if receiver.account.keys.covers(name) or self.claims(receiver, name):
                receiver.owed.setdefault(name, []).extend(serials)
            if not receiver.away:
                receiver.wire.append(frame)

    def claims(self, receiver: Receiver, name: str) -> bool:
        return receiver.away and receiver.account._away.covers(name)

    @rule(name=st.sampled_from(NAMES), at_rest=st.booleans(), again=st.booleans())
    def forget(self, name: str, at_rest: bool, again: bool = False) -> None:
        """Forget, if nobody needs it to be remembered; perhaps with what was sent under way."""
        for number in range(len(self.receivers) if at_rest else 0):
            self.beacon(number)
            self.arrive(number, 1 << 30)
            if again:
                self.beacon(number)
        numbering = self.numbering
        if name not in numbering.heads:
            return
        head, start = numbering.heads[name], numbering.start(name)
        there = [r for r in self.receivers if not r.away and r.account.keys.covers(name)]
        if any(r.account.minds(name, head) for r in self.receivers):
            return
        if any(r.acked.get(name, 0) < head for r in there):
            return
        assert numbering.forget(name) == head
        self.kept.pop(name, None)
        for receiver in self.receivers:
            receiver.account.forget(name, head, start)
            receiver.acked.pop(name, None)
        for receiver in there:
            if not receiver.old:
                ready = v.Ready(THEM, receiver.epoch, ME, {}, forget={name: head}, number=1)
                receiver.wire.append(wire.ready_frame(ready))

    @rule(number=which)
    def beacon(self, number: int) -> None:
        """Ask how far a receiver is: of what was lost at the end it hears by this."""
        receiver, numbering = self.receiver(number), self.numbering
        for name, head in numbering.heads.items() if not receiver.away else ():
            start, topic = numbering.start(name), wire.topic(name)
            receiver.wire.append(wire.data_head(topic, ME, head + 1, 0, 0.0, 0, start))

    # ---------------------------------------------------------------------- the receivers

    @rule(number=which, most=st.integers(1, 9))
    def arrive(self, number: int, most: int) -> None:
        receiver = self.receiver(number)
        for _ in range(min(most, len(receiver.wire))):
            self.take(receiver, receiver.wire.popleft())

    def take(self, receiver: Receiver, frame: bytes) -> None:
        where = receiver.positions
        if frame[:1] == wire.READY:
            ready = wire.read_ready(frame)
            for name, head in ready.forget.items():
                where.forget(name, head)
            if ready.number:
                return
            for gap in where.ready(ready.epoch, ready.heads, ready.promised, ready.starts):
                self.recover(receiver, gap.name, gap.last)
            receiver.interest.confirm(ready.epoch)
            return
        batch = wire.read_data(frame)
        first, start = batch.first, batch.start
        if receiver.old:
            first, start = first - start, 0
        position = where.where(batch.name, start)
        if position is None:
            return
        where.start(batch.name, start)
        if first > where.positions[batch.name] + 1:
            self.recover(receiver, batch.name, first - 1)
        skip, gap = take(where, batch.name, first, batch.count, start)
        assert gap is None
        serials = decode_batch(frame[batch.body :], batch.count) if batch.count else []
        receiver.got.setdefault(batch.name, []).extend(serials[skip:])
        if batch.count == 0:
            at = where.positions[batch.name]
            at += self.numbering.start(batch.name) if receiver.old else 0
            head = self.numbering.heads.get(batch.name, 0)
            receiver.acked[batch.name] = max(receiver.acked.get(batch.name, 0), min(at, head))
            if batch.name not in self.numbering.heads:
                del receiver.acked[batch.name]

    def recover(self, receiver: Receiver, name: str, last: int) -> None:
        """Be given what is missing up to a place, or lose it."""
        where, start = receiver.positions, self.numbering.start(name)
        kept = self.kept.get(name, {})
        for number in range(where.positions[name] + 1, last + 1):
            serial = kept.get(number + start if receiver.old else number)
            if serial is None:
                assert where.give_up(name, number)
                receiver.lost.setdefault(name, set()).add(number)
            else:
                take(where, name, number, 1)
                receiver.got.setdefault(name, []).append(serial)

    # ------------------------------------------------------------------------- what happens

    @rule(number=which, key=st.sampled_from(KEYS))
    def change(self, number: int, key: str) -> None:
        """Attach to a name or pattern, or detach from it."""
        receiver = self.receiver(number)
        if receiver.away:
            return
        added, removed = ((), (key,)) if key in receiver.keys else ((key,), ())
        receiver.keys.symmetric_difference_update({key})
        receiver.epoch += 1
        receiver.positions.expect(receiver.epoch, added, removed)
        receiver.interest.change(receiver.epoch, added, removed)
        covers = receiver.positions.in_force.covers
        for name in [name for name in NAMES if removed and not covers(name)]:
            receiver.owed.pop(name, None)  # what was on its way is not for it any more
        if removed:
            receiver.wire.clear()  # with what it did not want: a connection that begins anew
            receiver.interest.announced = 0
        self.announce(receiver)

    @rule(number=which)
    def cut(self, number: int) -> None:
        """Lose what is under way; the connection comes back."""
        receiver = self.receiver(number)
        if not receiver.away:
            receiver.wire.clear()
            receiver.interest.announced = 0
            self.announce(receiver)

    @precondition(lambda self: hasattr(self, "receivers"))
    @rule(number=which)
    def leave(self, number: int) -> None:
        """Be out of reach, as the origin has noticed."""
        receiver = self.receiver(number)
        if not receiver.away:
            receiver.away = True
            receiver.wire.clear()
            receiver.account.leave(self.numbering, receiver.acked)

    @rule(number=which)
    def come_back(self, number: int) -> None:
        receiver = self.receiver(number)
        if receiver.away:
            receiver.away, receiver.acked = False, {}
            receiver.interest.announced = 0
            self.announce(receiver)

    @rule(number=which, name=st.sampled_from(NAMES))
    def forget_behind_its_back(self, number: int, name: str) -> None:
        """What is sent while it is away is for it, and must not be forgotten."""
        self.leave(number)
        self.send(name, 1)
        self.forget(name, True)

    # ------------------------------------------------------------------------------ checks

    def teardown(self) -> None:
        if not hasattr(self, "receivers"):
            return
        for number in range(len(self.receivers)):
            self.come_back(number)
            self.beacon(number)
            self.arrive(number, 1 << 30)
        for receiver in self.receivers:
            assert not receiver.lost, "the origin keeps all that it has not forgotten"
            for name, got in receiver.got.items():
                assert got == sorted(set(got)), f"{name}: twice, or out of order: {got}"
            for name, owed in receiver.owed.items():
                missing = set(owed) - set(receiver.got.get(name, ()))
                assert not missing, f"{name}: {sorted(missing)} missed without a word"


TestForgetful = Forgetful.TestCase
TestForgetful.settings = settings(max_examples=examples(300), stateful_step_count=40, deadline=None)


# ------------------------------------------------------------------------------- pieces


def test_an_exchange_that_was_forgotten_counts_on() -> None:
    """From behind all that was ever forgotten, and to who knows no starts from 1."""
    numbering = Numbering()
    numbering.take("a", 5)
    numbering.take("b", 2)
    assert numbering.forget("a") == 5
    assert numbering.take("b", 1) == 3
    assert numbering.take("a", 2) == 6
    assert numbering.start("a") == 5
    assert numbering.numbers(numbering.heads) == {"b": 3, "a": 2}
    assert numbering.places({"a": 1, "b": 3}) == {"a": 6, "b": 3}
    assert numbering.forget("a") == 7
    assert numbering.forget("b") == 3
    assert (numbering.forgotten, numbering.floor) == (10, 7)
    assert not numbering.heads
    assert not numbering.starts


def test_what_was_forgotten_is_not_lacked() -> None:
    """Everybody had it, whatever was sent on that exchange since."""
    numbering = Numbering()
    numbering.take("a", 5)
    assert numbering.lacks("a", 5, {"a": 4})
    numbering.forget("a")
    assert not numbering.lacks("a", 5, {})
    numbering.take("a", 1)
    assert not numbering.lacks("a", 5, {})
    assert numbering.lacks("a", 6, {})


def test_who_is_away_needs_what_it_lacks_to_be_remembered() -> None:
    """Not what it had all of when it left, else one name after the other would be kept."""
    numbering, account = Numbering(), SentCounter()
    account.promise(NameSet(["a.*"]), numbering)
    for name in ("a.had", "a.lacks", "a.more", "b"):
        numbering.take(name, 3)
    account.leave(numbering, {"a.had": 3, "a.lacks": 2, "a.more": 3})
    numbering.take("a.more", 1)
    numbering.take("a.new", 1)
    minded = {name: account.minds(name, head) for name, head in numbering.heads.items()}
    expected = {"a.had": False, "a.lacks": True, "a.more": True, "b": False, "a.new": True}
    assert minded == expected
    account.lapse()
    assert not any(account.minds(name, head) for name, head in numbering.heads.items())


def test_sums_are_kept_together() -> None:
    """Of what is forgotten there is one sum, at both ends."""
    numbering, account, where = Numbering(), SentCounter(), ReceiveState()
    numbering.take("a", 3)
    account.promise(NameSet(["**"]), numbering)
    where.expect(1, ["**"], ())
    assert where.ready(1, {"a": 3}) == []
    numbering.take("a", 2)
    assert take(where, "a", 4, 2) == (0, None)
    account.forget("a", numbering.heads["a"], 0)
    assert where.forget("a", numbering.forget("a"))
    numbering.take("a", 4)
    assert where.where("a", 5) == 5
    assert take(where, "a", 6, 4, 5) == (0, None)
    assert account.counts(numbering) == {"": 2, "a": 4}
    assert {name: tally.received for name, tally in where.counted().items()} == {"": 2, "a": 4}


def test_ten_million_names_in_the_machines() -> None:
    """What an origin and a receiver remember does not grow with the names that there were."""
    numbering, account, where = Numbering(), SentCounter(), ReceiveState()
    account.promise(NameSet(["**"]), numbering)
    where.expect(1, ["**"], ())
    where.ready(1, {})
    alive: deque[str] = deque()
    for n in range(20_000):  # in earnest ten million: see the docstring of benchmarks
        name = f"reply.{n}"
        alive.append(name)
        place = numbering.take(name, 1)
        start = numbering.start(name)
        assert where.where(name, start) == place - 1
        assert take(where, name, place, 1, start) == (0, None)
        if len(alive) > 100:
            gone = alive.popleft()
            account.forget(gone, numbering.heads[gone], numbering.start(gone))
            assert where.forget(gone, numbering.forget(gone))
    for table in (numbering.heads, numbering.starts, where.positions, where.tallies):
        assert len(table) <= 101
    assert sum(account.counts(numbering).values()) == 20_000


def test_names_that_are_attached_one_after_the_other_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A receiver that attaches to a name for one answer, and detaches, remembers the latest."""
    monkeypatch.setattr("zexchange.protocol.delivery.sequence.IDLE_MOST", 5)
    where = ReceiveState()
    for n in range(100):
        name, epoch = f"reply.{n}", 2 * n + 1
        where.expect(epoch, [name], ())
        where.ready(epoch, {})
        take(where, name, 1, 1)
        where.expect(epoch + 1, (), [name])
    assert len(where.tallies) == 5
    assert len(where._left) <= 1
    assert sum(tally.received for tally in where.counted().values()) == 100


# --------------------------------------------------------------------- what peers are told


def session_with(features: tuple[str, ...], numbering: Numbering) -> Session:
    label = v.Label("h", 1)
    session = Session(ME, "f", label, (HERE,), lambda a: True, 0.0, numbering=numbering)
    hello = v.Hello(THEM, "f", label, (THERE,), 1, ("**",), features=features)
    session.receive(hello, b"route", None, 0.0)
    session.receive(v.Welcome(THEM, hello), None, THERE.control, 0.0)
    session.readiness.token(THEM, 1, True)
    session.readiness.announced(THEM, 1, {})
    session.take()
    return session


def told(session: Session) -> list[HaveForgotten]:
    return [e for e in session.take() if isinstance(e, HaveForgotten)]


def said(session: Session, kind: type[Any]) -> list[Any]:
    return [e.message for e in session.take() if isinstance(e, Send) and type(e.message) is kind]


def test_a_peer_is_told_in_portions_until_it_has_answered() -> None:
    """One after the other, and again after a while."""
    session = session_with(v.FEATURES, Numbering())
    names = {f"reply.{n}": n for n in range(PORTION + 5)}
    session.forgetting.forget(names, {THEM: names})
    session.tick(1.0)
    (first,) = told(session)
    assert (first.peer, first.epoch, first.number, len(first.heads)) == (THEM, 1, 1, PORTION)
    session.tick(1.5)
    assert not told(session)
    session.tick(1.0 + AGAIN)
    assert told(session) == [first]
    session.receive(v.Forgot(THEM, 1, ME), b"route", None, 2.5)
    (second,) = told(session)
    assert {**first.heads, **second.heads} == names
    session.receive(v.Forgot(THEM, 1, ME), b"route", None, 2.6)  # twice
    session.receive(v.Forgot(THEM, 2, ME), b"route", None, 2.6)
    session.tick(9.0)
    assert not told(session)


def test_a_peer_whose_connection_is_cut_is_told_when_it_is_back() -> None:
    """It is told by its token."""
    session = session_with(v.FEATURES, Numbering())
    session.readiness.token(THEM, 1, False)
    session.forgetting.forget({"a": 3}, {THEM: {"a": 3}})
    session.tick(1.0)
    assert not told(session)
    session.readiness.token(THEM, 1, True)
    session.readiness.announced(THEM, 1, {})
    session.tick(1.1)
    assert told(session) == [HaveForgotten(THEM, 1, 1, {"a": 3})]


def test_nothing_more_is_forgotten_while_a_peer_is_far_behind() -> None:
    """What it is still to be told is bounded."""
    session = session_with(v.FEATURES, Numbering())
    assert session.forgetting.keeps_up
    names = {f"reply.{n}": n for n in range(WAITING_MOST)}
    session.forgetting.forget(names, {THEM: names})
    assert not session.forgetting.keeps_up


def test_a_peer_that_has_forgotten_says_so() -> None:
    """Under the number that it was told it by."""
    session = session_with(v.FEATURES, Numbering())
    session.forgetting.has_forgotten(THEM, 7)
    assert said(session, v.Forgot) == [v.Forgot(ME, 7, THEM)]


ROUTE = b"route"


@pytest.mark.parametrize("features", [(), v.FEATURES])
def test_a_peer_is_understood_in_its_own_terms(features: tuple[str, ...]) -> None:
    """One that knows no starts speaks of numbers from 1, and is told of such."""
    numbering = Numbering()
    numbering.take("b", 10)
    numbering.forget("b")
    numbering.take("a", 5)
    session = session_with(features, numbering)
    to: Callable[[int], int] = (lambda n: n) if features else (lambda n: n - 10)
    session.receive(v.Ack(THEM, {"a": to(13)}, ME), ROUTE, None, 1.0)
    assert session.members.peers[THEM].acked == {"a": 13}
    session.receive(v.Replay(THEM, "a", to(14), to(15)), ROUTE, None, 1.0)
    resend = next(e for e in session.take() if type(e).__name__ == "Resend")
    first, last = resend.request.first, resend.request.last
    assert (first, last, first - resend.start) == (14, 15, to(14))
    session.peering.leave(dict(numbering.heads))
    assert said(session, v.Bye)[-1].heads == {"a": to(15)}


@pytest.mark.parametrize("number", [1, 5, 40_000])
def test_a_ready_of_many_heads_comes_in_parts(number: int) -> None:
    """Put together they are what was said; without one of them they are nothing."""
    heads = {f"{n:06}{'x' * 90}": n + 1 for n in range(number)}
    starts = {name: head - 1 for name, head in heads.items() if head % 3}
    promised = (v.Promise(3, dict.fromkeys(list(heads)[::2], 0)), v.Promise(4, {}))
    ready = v.Ready(THEM, 4, ME, heads, promised, starts)
    frames = wire.ready_frames(ready)
    assert all(len(frame) < wire.MAX_CONTROL_BYTES for frame in frames)
    assert (len(frames) > 1) is (number > 5)
    before: list[v.Ready] = []
    found = [wire.whole_ready(before, wire.read_ready(frame)) for frame in frames]
    assert found[:-1] == [None] * (len(frames) - 1)
    assert found[-1] == ready
    if len(frames) > 1:
        again = [wire.whole_ready(before, wire.read_ready(f)) for f in (*frames[1:], *frames)]
        assert [one for one in again if one] == [ready]


def test_a_ready_for_an_old_peer_holds_the_newest_that_fit() -> None:
    """It takes one frame, of 4 MiB."""
    heads = {f"{n:06}{'x' * 90}": 1 for n in range(60_000)}
    frame, left_out = wire.ready_that_fits(v.Ready(THEM, 4, ME, heads))
    told = wire.read_ready(frame).heads
    assert len(frame) <= wire.MAX_CONTROL_BYTES
    assert len(told) + left_out == len(heads)
    assert 30_000 < len(told) < 60_000
    assert f"059999{'x' * 90}" in told

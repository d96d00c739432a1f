"""Keys and permissions that change while a session runs: what it then says, and to whom."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import KEYS, NAMES
from test_peers import events, hello, of, pass_time

from zexchange.names import is_pattern, matches
from zexchange.protocol.interest.permitted import as_seen_by
from zexchange.protocol.security.keys import id_for
from zexchange.protocol.security.permissions import EVERYTHING, Policy, Rights, permitted
from zexchange.protocol.session import effects as fx
from zexchange.protocol.session import events as ev
from zexchange.protocol.session import readiness as proving
from zexchange.protocol.session.session import Session
from zexchange.protocol.wire import messages as v

START = 100.0
OURS, NORTH, SOUTH = b"o" * 32, b"n" * 32, b"s" * 32
ME = id_for(OURS, bytes(16))
HERE = v.Address("tcp://h:1", "tcp://h:2")
HOMES = {NORTH: v.Address("tcp://n:1", "tcp://n:2"), SOUTH: v.Address("tcp://s:1", "tcp://s:2")}
IDS = {key: id_for(key, bytes(16)) for key in HOMES}
THEM = IDS[NORTH]


class Talk:
    """A session with keys, and what two peers of it say; each is what its key says."""

    def __init__(self, **rights: Rights) -> None:
        policy = self.policy(**rights)
        label = v.Label("here", 1)
        self.session = Session(ME, "f", label, (HERE,), lambda a: True, START, policy=policy)
        self.now, self.epochs = START, dict.fromkeys(HOMES, 0)
        self.wants: dict[bytes, tuple[str, ...]] = dict.fromkeys(HOMES, ())
        self.session.candidates.add(HOMES[NORTH].control, "static", START)
        self.session.take()

    @staticmethod
    def policy(**rights: Rights) -> Policy:
        keys = {"north": NORTH, "south": SOUTH}
        return Policy(OURS, {keys[name]: its for name, its in rights.items()})

    def change(self, **rights: Rights) -> list[fx.Effect]:
        self.session.change_policy(self.policy(**rights), self.now)
        return self.session.take()

    def says(self, message: v.Control, key: bytes = NORTH) -> list[fx.Effect]:
        self.session.receive(message, key, None, self.now, key)
        return self.session.take()

    def greets(self, *interest: str, key: bytes = NORTH) -> list[fx.Effect]:
        """Say hello, as whoever was not a peer before; answer what is said to it."""
        self.epochs[key] += 1
        self.wants[key] = interest
        word = hello(IDS[key], addresses=(HOMES[key],), epoch=self.epochs[key], interest=interest)
        self.session.readiness.token(IDS[key], self.epochs[key], True)
        effects = self.says(word, key)
        self.session.receive(v.Welcome(IDS[key], word), None, HOMES[key].control, self.now, key)
        return [*effects, *self.session.take()]

    def wanting(self, added: tuple[str, ...], removed: tuple[str, ...] = ()) -> list[fx.Effect]:
        """Tell of an interest that has changed, and prove it."""
        self.epochs[NORTH] += 1
        epoch = self.epochs[NORTH]
        left = [key for key in self.wants[NORTH] if key not in removed]
        self.wants[NORTH] = tuple(dict.fromkeys([*left, *added]))
        self.session.readiness.token(THEM, epoch, True)
        return self.says(v.Interest(THEM, epoch, epoch - 1, 0, added, removed))

    def granted(self, key: bytes = NORTH) -> set[str]:
        return set(self.session.members.peers[IDS[key]].interest.keys)


def said(effects: list[fx.Effect], kind: type) -> list[v.Control]:
    """Return the messages of a kind that go to anybody."""
    messages = [e.message for e in effects if isinstance(e, fx.Send | fx.Reply)]
    return [message for message in messages if isinstance(message, kind)]


def left(effects: list[fx.Effect]) -> list[tuple[str, str]]:
    return [(e.peer, e.reason) for e in events(effects) if isinstance(e, ev.PeerLeft)]


# ------------------------------------------------------------------------------- keys


def test_who_is_revoked_is_let_go_of_and_not_heard() -> None:
    """Its link and its data end, the exchanges it wanted are looked at, and it is told nothing."""
    talk = Talk(north=Rights("north"), south=Rights("south"))
    talk.greets("a", "b.*")
    effects = talk.change(south=Rights("south"))
    assert left(effects) == [(THEM.hex(), "revoked")]
    assert of(fx.CloseReceiver, effects) == [fx.CloseReceiver(THEM, {}, final=False)]
    assert fx.CloseLink(HOMES[NORTH].control) in effects
    assert [set(e.keys) for e in effects if isinstance(e, fx.InterestChanged)] == [{"a", "b.*"}]
    for word in (v.Ping(THEM, 1, 1, 0), v.Replay(THEM, "a", 1, 1, 1), hello(THEM)):
        assert not of(fx.Reply, talk.says(word))
    assert talk.session.rejections == {(NORTH.hex(), "key unknown"): 3}
    assert not talk.session.members.peers


def test_a_change_of_one_key_is_nothing_to_the_others() -> None:
    """Whose entry stays the same is asked nothing, told nothing, and proves nothing anew."""
    talk = Talk(north=Rights("north"), south=Rights("south"))
    talk.greets("a")
    talk.greets("b", key=SOUTH)
    before = talk.session.interest.epoch
    effects = talk.change(north=Rights("north", ("x",)), south=Rights("south"))
    assert left(effects) == [(THEM.hex(), "permissions")]
    assert list(talk.session.members.peers) == [IDS[SOUTH]]
    assert SOUTH not in [getattr(effect, "key", b"") for effect in effects]
    assert HOMES[SOUTH].control not in [getattr(effect, "endpoint", "") for effect in effects]
    assert talk.session.interest.epoch == before
    assert talk.granted(SOUTH) == {"b"}


def test_the_same_policy_again_changes_nothing() -> None:
    """A file that was written again as it was ends nobody's connection."""
    talk = Talk(north=Rights("north", ("x",)))
    talk.greets("a")
    assert talk.change(north=Rights("north", ("x",))) == []


def test_whoever_is_no_peer_is_dialled_when_keys_change() -> None:
    """Who was refused for its key, or refused us, is greeted at the next tick, by a fresh link."""
    talk = Talk(south=Rights("south"))
    link = HOMES[NORTH].control
    talk.session.receive(v.Refuse(THEM, "identity", ""), None, link, START, NORTH)
    talk.session.peering.shut_out(link, START)
    talk.session.take()
    assert not said(pass_time(talk.session, 0.1), v.Hello)
    talk.now = talk.session.members._ticked_at
    talk.change(north=Rights("north"))
    effects = pass_time(talk.session, 0.1)
    assert [e.endpoint for e in effects if isinstance(e, fx.Redial)] == [link]
    assert len(said(effects, v.Hello)) == 1
    talk.greets("a")
    assert talk.granted() == {"a"}


def test_processes_of_the_same_user_keep_what_they_may() -> None:
    """No entry is about who comes by a Unix socket: it stays, whatever the files say."""
    talk = Talk(north=Rights("north"))
    near, address = b"n" * 16, v.Address("ipc:///a", "ipc:///b")
    word = hello(near, addresses=(address,), interest=("**",))
    talk.session.receive(word, "route", None, START)
    talk.session.take()
    assert talk.change() == []
    assert set(talk.session.members.peers) == {near}
    assert talk.session.members.peers[near].rights == EVERYTHING


# ------------------------------------------------------------------------ permissions


def test_an_interest_is_narrowed_and_widened() -> None:
    """What a peer may have of what it wants, and no more, is wanted of the exchanges."""
    talk = Talk(north=Rights("north"))
    talk.greets("a.*", "b")
    assert talk.granted() == {"a.*", "b"}
    effects = talk.change(north=Rights("north", None, ("a.x",)))
    assert [set(e.keys) for e in effects if isinstance(e, fx.InterestChanged)] == [{"a.*", "b"}]
    effects = talk.greets("a.*", "b")
    assert talk.granted() == {"a.x"}
    assert [set(e.keys) for e in effects if isinstance(e, fx.InterestChanged)] == [
        {"a.*", "b", "a.x"}
    ]
    assert talk.session.rejections == {("north", "may not subscribe"): 1}
    talk.change(north=Rights("north", None, ("a.x", "b", "c")))
    talk.greets("a.*", "b")
    assert talk.granted() == {"a.x", "b"}


def test_only_heads_that_may_be_had_are_announced() -> None:
    """Before and behind a change, in steps and in whole; what is refused still is answered."""
    talk = Talk(north=Rights("north", None, ("a", "b.*")))

    def announced(effects: list[fx.Effect]) -> set[str]:
        *_, last = [e for e in effects if isinstance(e, fx.Announce)]
        talk.session.readiness.announced(THEM, last.epoch, {})
        return set(last.keys)

    assert announced(talk.greets("a", "c")) == {"a"}
    assert announced(talk.wanting(("b.**", "d"))) == {"a", "b.*"}
    assert announced(talk.wanting(("e",), ("b.**",))) == {"a"}
    talk.change(north=Rights("north", None, ("c",)))
    assert announced(talk.greets("a", "c")) == {"c"}
    talk.change(north=Rights("north", None, ()))
    assert announced(talk.greets("a", "c")) == set()


def test_what_is_sent_again_follows_the_permissions() -> None:
    """A replay, and history, of a name that may be had no more is not answered; later it is."""
    talk = Talk(north=Rights("north", None, ("a", "b")))

    def again(name: str) -> tuple[int, list[tuple[str, ...]]]:
        resent = of(fx.Resend, talk.says(v.Replay(THEM, name, 1, 2, 0)))
        recounted = of(fx.Recount, talk.says(v.Recall(THEM, 1, name)))
        return len(resent), [tuple(sorted(e.keys)) for e in recounted]  # type: ignore[union-attr]

    talk.greets("a", "b", "c")
    assert (again("a"), again("c")) == ((1, [("a",)]), (0, []))
    talk.change(north=Rights("north", None, ("b", "c")))
    assert again("a") == (0, [])
    talk.greets("a", "b", "c")
    assert (again("a"), again("c")) == ((0, []), (1, [("c",)]))
    assert again("**") == (0, [("b", "c")])


def test_our_interest_is_told_to_who_may_publish() -> None:
    """The welcome, a change, and the whole: each has what of it this reader may publish."""
    talk = Talk(north=Rights("north", ("a",)))
    talk.session.readiness.change_interest([("a", True), ("b", True)], START)
    (welcome,) = said(talk.greets(), v.Welcome)
    assert welcome.hello.interest == ("a",)  # type: ignore[union-attr]
    talk.session.readiness.change_interest([("c", True), ("a", False)], START)
    (change,) = said(talk.session.take(), v.Interest)
    assert (change.added, change.removed) == ((), ("a",))  # type: ignore[union-attr]
    talk.change(north=Rights("north", ("b", "c", "d")))
    (welcome,) = said(talk.greets(), v.Welcome)
    assert set(welcome.hello.interest) == {"b", "c"}  # type: ignore[union-attr]
    (whole,) = said(talk.says(v.Resync(THEM)), v.Interest)
    assert set(whole.added) == {"b", "c"}  # type: ignore[union-attr]
    talk.change(north=Rights("north", ()))
    (welcome,) = said(talk.greets(), v.Welcome)
    assert welcome.hello.interest == ()  # type: ignore[union-attr]


# ---------------------------------------------------------------------- name by name


def names(effects: list[fx.Effect]) -> list[tuple[int, tuple[str, ...]]]:
    return [(m.base, m.names) for m in said(effects, v.Named)]  # type: ignore[union-attr]


def test_names_are_told_one_by_one_as_the_permissions_are() -> None:
    """Under a pattern that no prefix stands for, names are told that may be had now."""
    talk = Talk(north=Rights("north", None, ("a.*.c",)))
    talk.session.readiness.publishes(["a.x.c", "a.x.d", "b"])
    assert names(talk.greets("a.**")) == []  # there is no link yet when it is judged
    assert names(talk.says(v.Resync(THEM))) == [(0, ("a.x.c",))]
    talk.session.readiness.publishes(["a.y.c", "a.y.d"])
    assert names(talk.session.take()) == [(1, ("a.y.c",))]
    talk.change(north=Rights("north", None, ("a.*.d",)))
    assert talk.session.take() == []
    talk.greets("a.**")
    assert names(talk.says(v.Resync(THEM))) == [(0, ("a.x.d", "a.y.d"))]
    talk.change(north=Rights("north"))
    talk.greets("a.**")
    talk.session.readiness.publishes(["a.z.d"])
    assert names(talk.session.take()) == []


def test_names_that_were_used_once_are_forgotten() -> None:
    """At both ends: now and then those that are left are told anew, in place of all others."""
    talk = Talk(north=Rights("north", None, ("a.*.c",)))
    talk.greets("a.**")
    talk.says(v.Resync(THEM))
    said, told, most, sent = 0, dict[str, None](), 0, 0
    for n in range(20_000):
        talk.session.readiness.publishes([f"a.{n}.c"])
        if n >= 100:
            talk.session.readiness.unpublished([f"a.{n - 100}.c"])
        for base, some in names(talk.session.take()):
            assert base in (0, said)
            told = told if base else {}
            told.update(dict.fromkeys(some))
            said, sent = base + len(some), sent + len(some)
        most = max(most, len(told))
    peer = talk.session.members.peers[THEM]
    assert list(peer.named) == [f"a.{n}.c" for n in range(19_900, 20_000)]
    assert set(peer.named) <= told.keys()
    assert peer.names_said == said
    assert len(talk.session.readiness._names) == 100
    assert most <= proving.NAMES_AT_ONCE + 2 * 101
    assert sent <= 20_500


def test_where_all_names_are_forgotten_none_is_asked_for_for_ever() -> None:
    """Who has missed some is told that there are none."""
    talk = Talk(north=Rights("north", None, ("a.*.c",)))
    talk.greets("a.**")
    talk.session.readiness.publishes(["a.x.c"])
    talk.session.readiness.unpublished(["a.x.c"])
    talk.session.take()
    assert names(talk.says(v.Resync(THEM))) == [(0, ())]
    assert talk.session.members.peers[THEM].names_said == 0


@pytest.mark.parametrize("rights", [Rights("north"), Rights("north", None, ("a.**",))])
def test_names_are_not_told_where_prefixes_do(rights: Rights) -> None:
    """Who may have all that a pattern's prefix stands for subscribes by it."""
    talk = Talk(north=rights)
    talk.greets("a.**")
    talk.session.readiness.publishes(["a.x.c"])
    assert names([*talk.session.take(), *talk.says(v.Resync(THEM))]) == []


# --------------------------------------------------------------------------- whatever

rules = st.none() | st.lists(st.sampled_from([*KEYS, "a.*.c"]), max_size=3).map(tuple)
rights = st.builds(Rights, st.just("north"), rules, rules)
some_keys = st.lists(st.sampled_from(KEYS), max_size=3, unique=True).map(tuple)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("policy"), rights | st.none()),
        st.tuples(st.just("greet"), some_keys),
        st.tuples(st.just("want"), st.tuples(some_keys, some_keys)),
        st.tuples(st.just("ours"), st.tuples(st.sampled_from(KEYS), st.booleans())),
        st.tuples(st.just("send"), st.sampled_from(NAMES)),
        st.tuples(st.just("say"), st.sampled_from(["resync", "ping", "replay", "recall"])),
    ),
    max_size=12,
)


def within(keys: Iterable[str], rule: tuple[str, ...] | None) -> bool:
    """Whether keys cover nothing, of the names that a test has, that a rule does not permit."""
    return all(permitted(rule, n) for n in (*NAMES, *keys) for k in keys if reaches(k, n))


def reaches(key: str, name: str) -> bool:
    return not is_pattern(name) and matches(key, name)


def nothing_forbidden(effects: list[fx.Effect], its: Rights | None) -> None:
    """Hold what is said, sent again and announced to what a peer may have, and publish."""
    have, publish = (its.subscribe, its.publish) if its else ((), ())
    for effect in effects:
        if isinstance(effect, fx.Announce | fx.Recount):
            assert within(effect.keys, have)
        elif isinstance(effect, fx.Resend):
            assert permitted(have, effect.request.name)
        elif isinstance(effect, fx.OpenReceiver):
            assert its is not None
            assert effect.rights == its
    for message in said(effects, v.Named):
        assert within(message.names, have)  # type: ignore[union-attr]
    for message in said(effects, v.Interest):
        assert within((*message.added, *message.removed), publish)  # type: ignore[union-attr]
    for message in said(effects, v.Welcome):
        hello = message.hello  # type: ignore[union-attr]
        assert within(hello.interest, publish)
        seen = as_seen_by(hello, its or Rights("", (), ()))
        assert set(seen.interest) == set(hello.interest)  # in whatever order
        assert replace(seen, interest=hello.interest) == hello


def take_step(talk: Talk, what: str, more: object) -> list[fx.Effect]:
    peer = talk.session.members.peers.get(THEM)
    match what, more:
        case "greet", tuple(interest):
            return talk.greets(*interest)
        case "want", (added, removed):
            return talk.wanting(added, removed) if peer else []
        case "ours", (key, wanted):
            talk.session.readiness.change_interest([(key, wanted)], talk.now)
        case "send", str(name):
            talk.session.readiness.publishes([name])
        case "say", "resync":
            return talk.says(v.Resync(THEM))
        case "say", "ping":
            return talk.says(v.Ping(THEM, talk.epochs[NORTH], 0, 0))
        case "say", "replay":
            words = [talk.says(v.Replay(THEM, name, 1, 2, 0)) for name in NAMES]
            return [effect for effects in words for effect in effects]
        case "say", "recall":
            words = [talk.says(v.Recall(THEM, 1, key)) for key in KEYS]
            return [effect for effects in words for effect in effects]
    return talk.session.take()


@given(rights, steps)
def test_whatever_changes_nothing_forbidden_is_said(
    first: Rights, script: list[tuple[str, object]]
) -> None:
    """At no moment, and behind no change, a peer hears of a name that it may not know of then."""
    talk, its = Talk(north=first), first
    for what, more in script:
        if what == "policy":
            its = more  # type: ignore[assignment]
            effects = talk.change(**({"north": its} if its else {}))
        else:
            effects = take_step(talk, what, more)
        nothing_forbidden(effects, its)
        peer = talk.session.members.peers.get(THEM)
        if peer is not None:
            assert its is not None
            for name in NAMES:
                asked = any(matches(key, name) for key in talk.wants[NORTH])
                assert peer.interest.keys.covers(name) is (asked and its.may_subscribe(name))

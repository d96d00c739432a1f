"""Rights belong to the connection that a message came by: one id, spoken for by several."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_hearsay import BESIDE, ROUTE
from test_peering import HERE, ME, OURS, THEIRS, THEM, THERE
from test_peers import START, events, hello, of

from zexchange.names import matches
from zexchange.protocol.hub.client import HubSelector
from zexchange.protocol.hub.messages import Accepted
from zexchange.protocol.hub.rights import DelegatedRights
from zexchange.protocol.security.channel import Kind
from zexchange.protocol.security.keys import id_for
from zexchange.protocol.security.permissions import Policy, Rights, permitted
from zexchange.protocol.session import effects as fx
from zexchange.protocol.session import events as ev
from zexchange.protocol.session import peers as m
from zexchange.protocol.session.session import Session
from zexchange.protocol.wire import messages as v
from zexchange.protocol.wire.envelopes import endpoint_of
from zexchange.protocol.wire.messages import Control

HUB_KEY, HUB = b"h" * 32, "tcp://hub:1"
BEHIND = v.Address(endpoint_of(THEM), endpoint_of(THEM))
RIGHTS = {
    Kind.NEAR: Rights(""),
    Kind.KEY: Rights("them", ("key.**", "all"), ("key.**", "all")),
    Kind.HUB: Rights("relay", ("hub.**", "all"), ("hub.**", "all"), hub=True),
}
"""What one id may do by each kind of connection. Behind the hub, only what both files permit."""
NAMES = ("key.x", "hub.x", "all", "secret")


def may(kind: Kind, name: str) -> bool:
    """Return whether a name may be had by a kind of connection."""
    entries = [RIGHTS[kind]] if kind is not Kind.HUB else [RIGHTS[Kind.HUB], RIGHTS[Kind.KEY]]
    return all(permitted(rights.subscribe, name) for rights in entries)


class Bench:
    """A session with keys, to which one node comes by whatever way."""

    def __init__(self) -> None:
        entries = {THEIRS: RIGHTS[Kind.KEY], HUB_KEY: RIGHTS[Kind.HUB]}
        policy = Policy(OURS, entries)
        label = v.Label("host", 2)
        self.session = Session(ME, "f", label, (HERE,), lambda address: True, START, policy=policy)
        self.hubs = HubSelector(ME, "f", label, (HUB,), START)
        self.session.vouching = DelegatedRights(lambda: policy, self.hubs)
        self.hubs.carried(carried_word(), HUB, START, HUB_KEY)
        self.session.behind.appeared(THEM, START)
        self.session.take()
        self.now = START

    @property
    def peer(self) -> m.Peer:
        return self.session.members.peers[THEM]

    def say(self, kind: Kind, message: Control, link: str | None = None) -> list[fx.Effect]:
        """Have something said under the id, and return what is done about it."""
        key = THEIRS if kind is Kind.KEY else b""
        hub = HUB if kind is Kind.HUB else ""
        route = None if link else ROUTE
        self.session.receive(message, route, link, self.now, key, hub)
        return self.session.take()

    def greet(self, kind: Kind, *interest: str, epoch: int = 1) -> list[fx.Effect]:
        where = {Kind.NEAR: (BESIDE,), Kind.KEY: (THERE,), Kind.HUB: (BEHIND,)}[kind]
        said = hello(THEM, addresses=where, interest=interest, epoch=epoch, key=THEIRS)
        effects = self.say(kind, said)
        if kind is Kind.KEY and THERE.control in self.session.members.candidates:
            self.say(kind, v.Welcome(THEM, said), THERE.control)
        return effects


def carried_word() -> Accepted:
    return Accepted(
        sender=id_for(HUB_KEY, bytes(16)),
        secret=b"s" * 16,
        base=0,
        roster=1,
        up="tcp://hub:3",
        down="tcp://hub:2",
        present=((THEM, False),),
    )


LESSER = [(Kind.NEAR, Kind.KEY), (Kind.NEAR, Kind.HUB), (Kind.KEY, Kind.HUB)]
lesser = pytest.mark.parametrize(("own", "other"), LESSER)


@lesser
@pytest.mark.parametrize(
    "message",
    [
        v.Bye(THEM, {"all": 9}),
        v.Interest(THEM, 99, 0, 0, ("secret", "all")),
        v.Interest(THEM, 2, 1, 0, ("secret",)),
        v.Recall(THEM, 1, "secret"),
        v.Recall(THEM, 1, "all"),
        v.Replay(THEM, "secret", 1, 9),
        v.Replay(THEM, "all", 1, 9, 1),
        v.Ack(THEM, {"all": 9}),
        v.Named(THEM, 0, ("secret",)),
        v.Resync(THEM),
        v.Slow(THEM, True),
        v.Forgot(THEM, 1),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_comes_by_a_lesser_way_counts_for_nothing(
    own: Kind, other: Kind, message: Control
) -> None:
    """Neither control nor requests: whoever speaks there may not be the node itself."""
    bench = Bench()
    bench.greet(own, "secret", "all")
    before = bench.peer
    effects = [e for e in bench.say(other, message) if not isinstance(e, fx.Emit)]
    assert effects == []
    assert bench.peer is before
    assert bench.peer.interest.epoch == 1
    assert not bench.peer.finds_us_slow


@lesser
def test_a_hello_by_a_lesser_way_is_answered_and_changes_nothing(own: Kind, other: Kind) -> None:
    """Its link there need not be dialled for ever; what it is told is what it may know there."""
    bench = Bench()
    bench.session.readiness.change_interest([(name, True) for name in NAMES], START)
    bench.greet(own, "all")
    addresses = bench.peer.addresses
    effects = bench.greet(other, *NAMES, epoch=99)
    (reply,) = of(fx.Reply, effects)
    told = reply.message.hello.interest  # type: ignore[attr-defined]
    assert set(told) == {name for name in NAMES if may(other, name)}
    assert len(effects) == 1
    assert bench.peer.addresses == addresses
    assert bench.peer.interest.epoch == 1
    (pong,) = bench.say(other, v.Ping(THEM, 1, 1))
    assert pong == fx.Reply(ROUTE, v.Pong(ME))


@lesser
def test_a_welcome_by_a_lesser_way_is_a_second_link(own: Kind, other: Kind) -> None:
    """It is hung up, and nothing that it says of the node is taken."""
    bench = Bench()
    link = {Kind.KEY: "tcp://127.0.0.1:9", Kind.HUB: endpoint_of(THEM)}[other]
    bench.session.candidates.add(link, "static", START)
    bench.greet(own, "all")
    kept = bench.peer, bench.peer.addresses, bench.peer.data
    answer = v.Welcome(THEM, hello(THEM, addresses=(THERE,), interest=NAMES, epoch=99))
    assert bench.say(other, answer, link) == [fx.CloseLink(link)]
    assert (bench.peer, bench.peer.addresses, bench.peer.data) == kept
    assert bench.peer.interest.epoch == 1


@lesser
def test_a_better_way_is_the_nodes_own(own: Kind, other: Kind) -> None:
    """Met there, it may do what it may there, and whatever was said before is judged anew."""
    bench = Bench()
    bench.greet(other, *NAMES, epoch=7)
    assert set(bench.peer.interest.keys) == {name for name in NAMES if may(other, name)}
    bench.greet(own, *NAMES, epoch=7)
    assert set(bench.peer.interest.keys) == {name for name in NAMES if may(own, name)}
    assert bench.peer.calls is own
    assert bench.peer.kind is own


@lesser
def test_what_was_made_up_before_does_not_last(own: Kind, other: Kind) -> None:
    """An epoch from another's mouth would make the node's own words look old."""
    bench = Bench()
    bench.greet(other, "all", epoch=1 << 40)
    bench.greet(own, "all", epoch=2)
    assert bench.peer.interest.epoch == 2
    bench.say(own, v.Interest(THEM, 3, 2, 0, ("all.x",)))
    assert bench.peer.interest.epoch == 3


@lesser
def test_a_goodbye_by_a_lesser_way_bars_nobody(own: Kind, other: Kind) -> None:
    """Final is only what was said by a way as good as that by which it comes."""
    bench = Bench()
    bench.greet(other, "all")
    bench.say(other, v.Bye(THEM, {}))
    bench.greet(other, "all")
    assert THEM not in bench.session.members.peers
    bench.greet(own, "all")
    assert bench.peer.calls is own


@lesser
def test_who_is_silent_by_its_own_way_is_met_by_another(own: Kind, other: Kind) -> None:
    """A way can break: then the lesser one is what there is."""
    bench = Bench()
    bench.greet(own, "all", "secret")
    bench.now += m.SILENT_AFTER
    effects = bench.greet(other, "all", "secret")
    assert any(isinstance(event, ev.PeerLeft) for event in events(effects))
    assert bench.peer.calls is other
    assert set(bench.peer.interest.keys) == {"all"}


def test_a_node_that_calls_by_a_hub_and_is_reached_without_it() -> None:
    """What it may have is what may go by the hub; what it may publish goes by its key."""
    bench = Bench()
    bench.session.candidates.add(THERE.control, "static", START)
    bench.greet(Kind.HUB, *NAMES)
    answer = v.Welcome(THEM, hello(THEM, addresses=(THERE,), interest=NAMES))
    bench.say(Kind.KEY, answer, THERE.control)
    assert (bench.peer.kind, bench.peer.calls) == (Kind.KEY, Kind.HUB)
    assert bench.peer.rights.publish == RIGHTS[Kind.KEY].publish
    assert set(bench.peer.interest.keys) == {"all"}
    bench.say(Kind.HUB, v.Interest(THEM, 2, 1, 0, ("hub.y", "key.y"), ("all",)))
    assert bench.peer.interest.epoch == 2
    assert not set(bench.peer.interest.keys)


def test_a_node_that_calls_by_itself_and_is_reached_by_a_hub() -> None:
    """It has no address: its data comes by the hub, and is judged as that."""
    bench = Bench()
    bench.greet(Kind.HUB, *NAMES)
    bench.say(Kind.KEY, hello(THEM, addresses=(), interest=NAMES))
    assert (bench.peer.kind, bench.peer.calls) == (Kind.HUB, Kind.KEY)
    assert set(bench.peer.interest.keys) == {"key.x", "all"}
    assert bench.peer.rights.may_publish("all")
    assert not bench.peer.rights.may_publish("key.x")
    assert bench.peer.link == endpoint_of(THEM)


def test_who_cannot_be_reached_where_it_says_is_received_by_its_hub() -> None:
    """It may be behind a wall: until our own link is answered, the hub is the way to it."""
    bench = Bench()
    bench.greet(Kind.HUB, *NAMES)
    bench.say(Kind.KEY, hello(THEM, addresses=(THERE,), interest=NAMES))
    assert (bench.peer.kind, bench.peer.calls) == (Kind.HUB, Kind.KEY)
    assert bench.peer.link == endpoint_of(THEM)
    assert THERE.control in bench.session.members.candidates
    assert set(bench.peer.interest.keys) == {"key.x", "all"}
    bench.say(Kind.KEY, v.Welcome(THEM, hello(THEM, addresses=(THERE,))), THERE.control)
    assert (bench.peer.kind, bench.peer.link) == (Kind.KEY, THERE.control)


kinds = st.sampled_from(list(Kind))
keys = st.sampled_from([*NAMES, "**", "key.**", "*.x"])
told = st.lists(keys).map(tuple)
messages = st.one_of(
    st.builds(lambda epoch, told: hello(THEM, epoch=epoch, interest=told), st.integers(1, 4), told),
    st.builds(
        lambda epoch, base, added, removed: v.Interest(THEM, epoch, base, 0, added, removed),
        st.integers(1, 5), st.integers(0, 4), told, told,
    ),
    st.builds(lambda k: v.Recall(THEM, 1, k), keys),
    st.builds(lambda n, r: v.Replay(THEM, n, 1, 9, r), st.sampled_from(NAMES), st.integers(0, 1)),
    st.just(v.Resync(THEM)), st.just(v.Bye(THEM, {})), st.just(v.Ping(THEM, 1, 0)),
)  # fmt: skip


@given(st.lists(st.tuples(kinds, messages, st.sampled_from([0.0, 0.5, 4.0])), max_size=12))
def test_nothing_is_asked_by_a_way_that_may_not_have_it(
    steps: list[tuple[Kind, Control, float]],
) -> None:
    """Whatever is said under one id, by whatever ways in turn, each gets what it may there."""
    bench = Bench()
    bench.session.readiness.change_interest([(name, True) for name in NAMES], START)
    for kind, message, wait in steps:
        bench.now += wait
        if isinstance(message, v.Hello):
            where = {Kind.NEAR: BESIDE, Kind.KEY: THERE, Kind.HUB: BEHIND}[kind]
            message = replace(message, addresses=(where,))
        for effect in bench.say(kind, message):
            for name in _asked(effect):
                assert may(kind, name), (kind, message, effect)
        for peer in bench.session.members.peers.values():
            wanted = [n for n in NAMES if peer.interest.keys.covers(n)]
            assert all(may(peer.calls, name) for name in wanted)


def _asked(effect: fx.Effect) -> Iterator[str]:
    """Yield the names that an effect hands something out of, to who has asked."""
    if isinstance(effect, fx.Resend):
        yield effect.request.name
    elif isinstance(effect, fx.Recount):
        yield from (n for n in NAMES if any(matches(key, n) for key in effect.keys))
    elif isinstance(effect, fx.Reply) and isinstance(effect.message, v.Welcome):
        keys_told = effect.message.hello.interest
        yield from (n for n in NAMES if n in keys_told)


def test_who_is_not_where_it_says_is_met_by_the_hub() -> None:
    """It called by its key before the hub was known to lead to it, and nothing answers there."""
    bench = Bench()
    bench.session.behind.vanished(THEM, "gone", START)
    bench.session.take()
    said = hello(THEM, addresses=(THERE,), interest=("all",), key=THEIRS)
    bench.say(Kind.KEY, said)
    assert (bench.peer.data, bench.peer.kind) == (THERE.data, Kind.KEY)
    bench.session.behind.appeared(THEM, START)
    left = []
    for _ in range(8):
        bench.now += 0.5
        bench.say(Kind.KEY, v.Ping(THEM, 1, 0))
        bench.session.tick(bench.now)
        left += [e for e in events(bench.session.take()) if isinstance(e, ev.PeerLeft)]
    assert [one.reason for one in left] == ["permissions"]
    bench.say(Kind.KEY, said)
    assert (bench.peer.data, bench.peer.kind, bench.peer.calls) == (
        *(BEHIND.data, Kind.HUB),
        Kind.KEY,
    )

"""What keys may publish and subscribe to, tried by nodes and by sockets that keep to no rule."""

import threading

import pytest
import zmq

from tests.net.conftest import Joiner, collect, on_control
from tests.net.keyrings import Keyrings, Raw, everything, hear, raw, say
from tests.support import eventually
from zexchange import Node, PeerSlow, Registry, Rejected, to_call
from zexchange.names import matches
from zexchange.protocol.wire.control import read_control
from zexchange.protocol.wire.data import read_ready, ready_topic, topic
from zexchange.protocol.wire.messages import (
    Bye,
    Named,
    Pong,
    Recall,
    Recalled,
    Replay,
    Replayed,
    Welcome,
)
from zexchange.protocol.wire.messages import Ping as PingMessage

pytestmark = pytest.mark.sockets
HERE = "tcp://127.0.0.1:0"


def serving(join: Joiner, keyrings: Keyrings, permissions: str) -> tuple[Node, Registry]:
    """Return a node that knows ``south`` and ``west``, and permits them something."""
    keyrings.friends("north", "south", "west")
    keyrings.permit("north", permissions)
    return join(keys=keyrings("north"), listen=HERE, local=False)


def guest(
    join: Joiner, keyrings: Keyrings, node: Node, name: str = "south"
) -> tuple[Node, Registry]:
    return join(keys=keyrings(name), peers=node.endpoints, local=False)


def names(registry: Registry, pattern: str) -> list[object]:
    """Attach a list of (name, message) to a pattern and return it."""
    got: list[object] = []
    registry.match(pattern).attach(to_call(got.append), names=True)
    return got


# ------------------------------------------------------------------------------ subscribing


def test_only_what_is_permitted_arrives(join: Joiner, keyrings: Keyrings) -> None:
    """Names and patterns: what may be subscribed to comes whole and in order, the rest never."""
    node, here = serving(join, keyrings, '[south]\nsubscribe = ["a", "b.*.c", "d.**"]')
    _, there = guest(join, keyrings, node)
    got = names(there, "**")
    for name in ("a", "b.1.c", "d.x"):
        node.wait_subscribers(name, 1)
    sent = [
        (name, n)
        for n in range(50)
        for name in ("a", "a.a", "b.1.c", f"b.{n}.c", "b.1.secret", "b.1.c.secret", "d", "d.x.y")
    ]
    for name, n in sent:
        here.get(name).send(n)
    node.flush()
    allowed = [pair for pair in sent if pair[0] in ("a", "d", "d.x.y") or pair[0].endswith(".c")]
    assert sorted(got) == sorted(allowed)  # type: ignore[type-var]
    for name in {name for name, _ in sent}:
        assert [n for m, n in got if m == name] == [n for m, n in allowed if m == name]  # type: ignore[misc]


def overlapping_is_one_channel(
    node: Node, here: Registry, other: Node, there: Registry, subscribers: int
) -> None:
    """See it where ``a.*.c`` alone is permitted to ``other``, of what ``node`` sends."""
    got: list[object] = []
    task = to_call(got.append)
    for pattern in ("a.**", "a.*.c", "**"):
        there.match(pattern).attach(task)
    there.get("a.1.c").attach(task)
    node.wait_subscribers("a.1.c", subscribers)
    other.wait_ready()
    for n in range(10):
        here.get("a.1.c").send(n)
        here.get("a.1.x").send("secret")
    node.flush()
    assert got == list(range(10))
    there.match("a.**").detach(task)
    there.match("**").detach(task)
    other.wait_ready()
    here.get("a.1.c").send("more")
    here.get("a.2.c").send("new")
    node.flush()
    assert got[10:] == ["more", "new"]


def test_patterns_that_overlap_are_one_channel(join: Joiner, keyrings: Keyrings) -> None:
    """Several keys that leave the same part: what is permitted comes once, until the last goes."""
    node, here = serving(join, keyrings, '[south]\nsubscribe = ["a.*.c"]')
    other, there = guest(join, keyrings, node)
    overlapping_is_one_channel(node, here, other, there, 1)


@pytest.mark.parametrize(
    ("subscribe", "publish"),
    [("a.**", "a.**"), ("a.**", "a.x"), ("*", "a"), ("*.x", "a.**"), ("a.*", "*.x")],
)
def test_both_ends_permit_a_part(
    join: Joiner, keyrings: Keyrings, subscribe: str, publish: str
) -> None:
    """A publisher is told a part of a pattern, and honours that where it refuses the whole."""
    keyrings.permit("south", f'[north]\npublish = ["{publish}"]')
    node, here = serving(join, keyrings, f'[south]\nsubscribe = ["{subscribe}"]')
    other, there = guest(join, keyrings, node)
    got = names(there, "**")
    mine = [
        name for name in ("a", "a.x", "b.x") if all(matches(p, name) for p in (subscribe, publish))
    ]
    for turn in range(3):
        if turn == 1:  # a part that another key shares stays
            there.get(mine[0]).attach(shared := to_call(lambda msg: None))
        elif turn == 2:
            there.get(mine[0]).detach(shared)
        other.wait_ready()
        got.clear()
        for name in mine:
            node.wait_subscribers(name, 1)
        for name in ("a", "a.x", "b.x", "c"):
            here.get(name).send(turn)
        node.flush()
        assert got == [(name, turn) for name in mine]


def test_names_that_come_later_are_told(join: Joiner, keyrings: Keyrings) -> None:
    """Messages on a name that is new under a pattern arrive from the first on."""
    node, here = serving(join, keyrings, '[south]\nsubscribe = ["*.open"]')
    other, there = guest(join, keyrings, node)
    got = names(there, "**")
    node.wait_subscribers("0.open", 1)
    for n in range(200):
        here.get(f"{n}.open").send(n)
        here.get(f"{n}.secret").send(n)
    node.flush()
    assert sorted(got) == sorted((f"{n}.open", n) for n in range(200))  # type: ignore[type-var]
    assert other.stats().unwanted == 0


def test_no_subscription_of_any_bytes_lets_the_forbidden_through(
    join: Joiner, keyrings: Keyrings
) -> None:
    """A socket that subscribes to whatever it likes gets what its key is permitted alone."""
    node, here = serving(join, keyrings, '[south]\nsubscribe = ["open", "part.*.open"]')
    _, there = guest(join, keyrings, node, "west")  # who may have all: bridges are open
    got = names(there, "**")
    node.wait_subscribers("secret", 1)
    with raw(node, keyrings("south")) as thief:
        data, others = thief.data(), list["zmq.Socket[bytes]"]()
        for attempt in (
            b"", b"\x01", b"\x01s", b"\x01secret", topic("secret"), b"\x01part.", b"\x01o",
            b"\x01part.1.", topic("part.1.secret"), b"\xff", b"\xff" + bytes(24), b"\x02", b"\x00",
            b"\x01open", b"\x01secret\0\x01", topic("open") + b"x",
        ):  # fmt: skip
            if attempt[:1] in (b"\x01", b"\xff"):
                data.send(b"\x01" + attempt)
            else:  # whoever asks for that is cut
                others.append(thief.data())
                others[-1].send(b"\x01" + attempt)
        data.send(b"\x01" + topic("open"))
        frames: list[bytes] = []

        def arrived() -> bool:
            here.get("open").send("public")
            frames.extend(everything(data))
            return bool(frames)

        eventually(arrived)
        for name in ("secret", "part.1.secret", "part.1.open", "other", "open.not"):
            here.get(name).send("secret")
        here.get("open").send("last")
        node.flush()
        eventually(lambda: frames.extend(everything(data)) or b"last" in b"".join(frames))
        assert all(frame.startswith(topic("open")) for frame in frames)
        assert not any(everything(other) for other in others)
    assert ("secret", "secret") in got


def test_what_was_refused_is_asked_for_again_once_it_is_permitted(
    join: Joiner, keyrings: Keyrings
) -> None:
    """A connection by which nothing was honoured yet is cut, and made anew, as any other."""
    node, here = serving(join, keyrings, '[south]\nsubscribe = ["open"]')
    _, there = guest(join, keyrings, node, "west")
    got = collect(there, "secret")
    node.wait_subscribers("secret", 1)
    with raw(node, keyrings("south")) as south:
        data, engine = south.data(), node._engine
        assert engine is not None
        asked: list[bytes] = []
        take = engine.outbound.demand._take
        with engine.outbound._lock:
            engine.outbound.demand._take = lambda f: (take(f), asked.append(f.bytes))[0]  # type: ignore[method-assign, func-returns-value]
        data.send(b"\x01" + topic("secret"))
        eventually(lambda: b"\x01" + topic("secret") in asked)
        keyrings.permit("north", '[south]\nsubscribe = ["secret"]')

        def arrived() -> bool:
            here.get("secret").send("permitted")
            return bool(everything(data))

        eventually(arrived)
    assert got


def greeted(thief: Raw, *interest: str) -> "tuple[zmq.Socket[bytes], zmq.Socket[bytes]]":
    """Return control and data sockets of a raw peer that has said hello, and was welcomed."""
    control, data = thief.control(), thief.data()
    say(control, thief.hello(*interest))
    assert isinstance(hear(control), Welcome)
    return control, data


def test_heads_replay_and_history_reveal_nothing(join: Joiner, keyrings: Keyrings) -> None:
    """Ready frames, replays and recalls hold what the key may have, whatever is asked for."""
    node, here = serving(join, keyrings, '[south]\nsubscribe = ["open"]')
    here.retain("**", 10)
    _, there = guest(join, keyrings, node, "west")
    names(there, "**")
    node.wait_subscribers("secret", 1)
    for name in ("open", "secret", "secret.too"):
        here.get(name).send(f"in {name}")
    node.flush()
    with raw(node, keyrings("south")) as thief:
        control, data = greeted(thief, "**", "secret", "open")
        data.send(b"\x01" + ready_topic(thief.id, 1))
        assert data.poll(30_000)
        ready = read_ready(data.recv())
        assert set(ready.heads) == {"open"}
        assert all(set(promise.heads) <= {"open"} for promise in ready.promised)
        said: list[bytes] = []
        for request in (0, 1):
            for name in ("secret", "secret.too", "**", "open"):
                say(control, Replay(thief.id, name, 1, 100, request))
        for key in ("secret", "**", "secret.**"):
            say(control, Recall(thief.id, 7, key))
        say(control, PingMessage(thief.id, 1, 0))
        while not any(isinstance(m, Pong) for m in _controls(said)):
            assert control.poll(30_000)
            said.append(control.recv_multipart()[0])
    everything_said = b"".join(said)
    assert b"in open" in everything_said
    assert b"secret" not in everything_said
    answers = _controls(said)
    assert [m.name for m in answers if isinstance(m, Replayed)] == ["open", "open"]
    assert [m.ranges for m in answers if isinstance(m, Recalled)] == [{"open": (1, 1)}]


def _controls(frames: list[bytes]) -> list[object]:
    return [read_control(frame) for frame in frames if frame[:1] == b"\x02"]


def test_a_late_joiner_gets_the_history_that_it_may(join: Joiner, keyrings: Keyrings) -> None:
    """Retained messages of permitted names come, under a pattern too, and no others."""
    node, here = serving(join, keyrings, '[south]\nsubscribe = ["*.open"]')
    here.retain("**", 10)
    for n in range(5):
        here.get("x.open").send(n)
        here.get("x.secret").send(n)
    other, there = guest(join, keyrings, node)
    with there.match("**").stream(history=3, names=True) as stream:
        other.wait_ready()
        here.get("x.secret").send("live")
        here.get("x.open").send("live")
        got = [stream.get(timeout=30) for _ in range(4)]
    assert got == [("x.open", n) for n in (2, 3, 4, "live")]


def test_a_goodbye_and_gossip_name_nothing_forbidden(join: Joiner, keyrings: Keyrings) -> None:
    """Who leaves tells its heads: to each peer those of what that may have."""
    node, here = serving(join, keyrings, '[south]\nsubscribe = ["open"]')
    other, there = guest(join, keyrings, node)
    collect(there, "open")
    node.wait_subscribers("open", 1)
    _, where = guest(join, keyrings, node, "west")
    collect(where, "secret")
    node.wait_subscribers("secret", 1)
    here.get("secret").send(1)
    here.get("open").send(1)
    said: list[object] = []
    engine = other._engine
    assert engine is not None
    receive = engine.session.receive

    def noted(message: object, *rest: object) -> None:
        said.append(message)
        receive(message, *rest)  # type: ignore[arg-type]

    with engine.changed:
        engine.session.receive = noted  # type: ignore[method-assign, assignment]
    node_id = node.id
    node.close()
    eventually(lambda: any(isinstance(m, Bye) for m in said))
    said = [message for message in said if message.sender.hex() == node_id]  # type: ignore[attr-defined]
    assert next(m.heads for m in said if isinstance(m, Bye)) == {"open": 1}
    assert "secret" not in str(said)


def test_a_message_among_subscriptions_gives_nobody_anothers(
    join: Joiner, keyrings: Keyrings
) -> None:
    """What comes behind it would be subscribed to for another connection, by libzmq."""
    node, _ = serving(join, keyrings, '[south]\nsubscribe = ["open"]')
    engine = node._engine
    assert engine is not None
    with raw(node, keyrings("west")) as honest, raw(node, keyrings("south")) as thief:
        good, bad, worse = honest.data(), thief.data(), thief.data()
        probe = {good: 0, bad: 0, worse: 0}

        def connected(socket: "zmq.Socket[bytes]") -> bool:
            socket.send(b"\x01" + topic("open"))
            with engine.outbound._lock:
                engine.outbound.demand.read()
                engine.outbound._socket.send(topic("open"))
            probe[socket] += len(everything(socket))
            return bool(probe[socket])

        for socket in probe:
            eventually(lambda s=socket: connected(s))  # type: ignore[misc]
        with engine.outbound._lock:  # nobody reads until all is there
            xpub = engine.outbound._socket
            worse.send(b"\x05 no subscription")
            assert xpub.poll(30_000)
            good.send(b"\x01" + topic("secret"))
            settle(xpub, threading.Event())
            bad.send(b"\x01" + topic("open"))
            settle(xpub, threading.Event())
            engine.outbound.demand.read()
            for _ in range(100):
                xpub.send(topic("secret") + b"for west alone")
            xpub.send(topic("open"))
        eventually(lambda: any(r == "message instead of a subscription" for _, r in rejected(node)))
        assert not [frame for frame in everything(bad) if b"west" in frame]


def settle(xpub: "zmq.Socket[bytes]", never: threading.Event) -> None:
    """Give what was sent on loopback the time to be queued; too little would hide the fault."""
    for _ in range(20):
        never.wait(0.01)
        xpub.getsockopt(zmq.EVENTS)


def rejected(node: Node) -> "dict[tuple[str, str], int]":
    return node.stats().rejected


def test_what_may_be_subscribed_to_changes_while_running(join: Joiner, keyrings: Keyrings) -> None:
    """Less, and more, is in force without a restart, for living connections."""
    node, here = serving(join, keyrings, '[south]\nsubscribe = ["a", "b"]')
    _, there = guest(join, keyrings, node)
    got = names(there, "**")
    node.wait_subscribers("b", 1)
    keyrings.permit("north", '[south]\nsubscribe = ["a"]')
    eventually(lambda: not subscribes(node, "b") and subscribes(node, "a"))
    here.get("b").send("secret")
    here.get("a").send(1)
    node.flush()
    assert got == [("a", 1)]
    keyrings.permit("north", '[south]\nsubscribe = ["c"]')
    node.wait_subscribers("c", 1, timeout=30)
    for name in "abc":
        here.get(name).send(2)
    node.flush()
    assert got == [("a", 1), ("c", 2)]


def subscribes(node: Node, name: str) -> bool:
    engine = node._engine
    assert engine is not None
    with engine.changed:
        return any(p.interest.in_force(name) for p in engine.session.members.peers.values())


def test_what_is_forbidden_is_told_where_it_is_forbidden(join: Joiner, keyrings: Keyrings) -> None:
    """A peer that wants what it may not have at all is counted, by the name of its key."""
    node, _ = serving(join, keyrings, '[south]\nsubscribe = ["open"]')
    _, there = guest(join, keyrings, node)
    collect(there, "secret")
    eventually(lambda: ("south", "may not subscribe") in rejected(node))


# ------------------------------------------------------------------------------- publishing


def test_only_what_may_be_published_is_taken(join: Joiner, keyrings: Keyrings) -> None:
    """The rest is dropped, counted, and an event once; who sends it is not held up by that."""
    node, here = serving(join, keyrings, '[south]\npublish = ["open.**"]')
    got = names(here, "**")
    other, there = guest(join, keyrings, node)
    # Somebody wants all of it: so it is sent.
    _, where = join(keys=keyrings("west"), peers=[*node.endpoints, *other.endpoints], local=False)
    elsewhere = names(where, "**")
    told: list[object] = []
    node.events.handler(told.append)
    slow: list[object] = []
    other.events.handler(slow.append)
    other.wait_subscribers("secret", 1)
    other.wait_subscribers("open.a", 2)
    for n in range(500):
        there.get("secret").send(n)
        there.get("open.a").send(n)
    other.flush()
    assert got == [("open.a", n) for n in range(500)]
    assert len(elsewhere) == 1000
    reason = ("south", "may not publish on 'secret'")
    eventually(lambda: rejected(node).get(reason))
    eventually(lambda: any(isinstance(e, Rejected) and e.reason == reason[1] for e in told))
    events = [e for e in told if isinstance(e, Rejected) and e.reason == reason[1]]
    assert len(events) == 1
    assert not [event for event in slow if isinstance(event, PeerSlow)]


def test_names_are_judged_when_sent_again_and_in_history(join: Joiner, keyrings: Keyrings) -> None:
    """What may not be published does not come as history either."""
    node, here = serving(join, keyrings, '[south]\npublish = ["open"]')
    other, there = guest(join, keyrings, node)
    there.retain("**", 5)
    there.get("secret").send("s")
    there.get("open").send("o")
    with here.match("**").stream(history=5, names=True) as stream:
        node.wait_ready()
        other.wait_subscribers("open", 1)
        there.get("secret").send("live")
        there.get("open").send("live")
        got = [stream.get(timeout=30) for _ in range(2)]
        other.flush()
    assert got == [("open", "o"), ("open", "live")]


def test_who_may_not_publish_is_not_told_what_is_wanted(join: Joiner, keyrings: Keyrings) -> None:
    """Our interest, as `peers` shows it, is known to those alone who may publish there."""
    node, here = serving(join, keyrings, '[south]\npublish = ["open.*"]')
    collect(here, "secret")
    names(here, "open.**")
    other, _ = guest(join, keyrings, node)
    (peer,) = other.peers
    assert peer.interest == ("open.*",)
    collect(here, "secret.later")
    collect(here, "open.later")
    node.wait_ready()
    eventually(lambda: "open.later" in other.peers[0].interest)
    assert set(other.peers[0].interest) == {"open.*", "open.later"}


def test_a_raw_peer_is_told_interest_that_it_may_publish(join: Joiner, keyrings: Keyrings) -> None:
    """Welcome and resync, too, name nothing else."""
    node, here = serving(join, keyrings, '[south]\npublish = ["open"]')
    collect(here, "secret")
    collect(here, "open")
    with raw(node, keyrings("south")) as peer:
        control = peer.control()
        say(control, peer.hello())
        welcome = hear(control)
        assert isinstance(welcome, Welcome)
        assert welcome.hello.interest == ("open",)


def test_nothing_permitted_is_nothing(join: Joiner, keyrings: Keyrings) -> None:
    """Empty lists by default: an authorized peer that may do nothing hears and says nothing."""
    node, here = serving(join, keyrings, "[default]\npublish = []\nsubscribe = []")
    got = names(here, "**")
    other, there = guest(join, keyrings, node)
    back = names(there, "**")
    other.wait_peers(1)
    here.get("x").send(1)
    there.get("y").send(2)
    node.flush()
    other.flush()
    assert got == [("x", 1)]
    assert back == [("y", 2)]


def test_a_peer_cannot_speak_as_another(join: Joiner, keyrings: Keyrings) -> None:
    """Data frames that name another origin are dropped, over TCP with keys as elsewhere."""
    node, here = serving(join, keyrings, "")
    got = collect(here, "x")
    other, _ = guest(join, keyrings, node)
    other.wait_subscribers("x", 1)
    engine = other._engine
    assert engine is not None
    forged = topic("x") + b"\x27\x01" + b"f" * 16 + (1).to_bytes(8, "big") + b"\0\0\0\1"
    with engine.outbound._lock:
        engine.outbound._socket.send(forged + bytes(9) + b"\xc0")
    eventually(lambda: any("not this peer" in reason for _, reason in rejected(node)))
    assert got == []


def test_names_are_told_again_where_some_are_missing(join: Joiner, keyrings: Keyrings) -> None:
    """Who has missed names says so, and is told all; junk names change nothing."""
    node, here = serving(join, keyrings, '[south]\nsubscribe = ["*.open"]')
    other, there = guest(join, keyrings, node)
    got = names(there, "**")
    node.wait_subscribers("1.open", 1)
    engine = other._engine
    assert engine is not None

    def forget() -> None:
        for known in engine.session.members.peers.values():
            known.names_told = 0

    on_control(other, forget)
    on_control(
        other,
        lambda: engine.session.receive(
            Named(bytes.fromhex(node.id), 50, ("0.secret",)), None, node.endpoints[0], 0.0
        ),
    )
    here.get("1.open").send("x")
    node.flush()
    assert got == [("1.open", "x")]

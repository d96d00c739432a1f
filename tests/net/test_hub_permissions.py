"""What keys may publish and subscribe to behind a hub, tried by nodes and by raw sockets."""

import pytest

from tests.net.conftest import Joiner, collect
from tests.net.keyedhubs import Huber, RawMember, behind, carried, passed, raw_member
from tests.net.keyrings import Keyrings, everything
from tests.net.test_hub_keys import complaints, linked, reasons
from tests.net.test_permissions import overlapping_is_one_channel
from tests.support import eventually
from zexchange import Exchange, Node, PeerSlow, Registry, Rejected, View, to_call
from zexchange.net.hub.hub import Hub
from zexchange.protocol.wire.control import control_frame, read_control
from zexchange.protocol.wire.data import data_head, ready_topic, topic
from zexchange.protocol.wire.envelopes import Envelope, bundle, read_relay, relay_head, unbundle
from zexchange.protocol.wire.messages import (
    Address,
    Control,
    Hello,
    Label,
    Ping,
    Pong,
    Recall,
    Recalled,
    Replay,
    Replayed,
    Welcome,
)

pytestmark = pytest.mark.sockets


def names(registry: Registry, pattern: str) -> list[object]:
    """Attach a list of (name, message) to a pattern and return it."""
    got: list[object] = []
    registry.match(pattern).attach(to_call(got.append), names=True)
    return got


def three(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings, permissions: str
) -> tuple[Hub, tuple[Node, Registry], tuple[Node, Registry], tuple[Node, Registry]]:
    """Return a hub that permits something, and ``north``, ``south`` and ``west`` behind it."""
    carried(keyrings, "north", "south", "west", permissions=permissions)
    hub = keyed_hub()
    north, south, west = (behind(hub, join, keyrings, name) for name in ("north", "south", "west"))
    return hub, north, south, west


def told(node: Node) -> list[str]:
    """Return what the only peer of a node wants of it."""
    return sorted(key for peer in node.peers for key in peer.interest)


def rejected(node: Node) -> "dict[tuple[str, str], int]":
    return node.stats().rejected


# ------------------------------------------------------------------------------ subscribing


def test_a_hub_gives_what_is_permitted(keyed_hub: Huber, join: Joiner, keyrings: Keyrings) -> None:
    """Names and patterns: what may be subscribed to comes whole and in order, the rest never."""
    permitted = '[south]\nsubscribe = ["a", "b.*.c", "d.**"]'
    _, (node, here), (other, there), (_, where) = three(keyed_hub, join, keyrings, permitted)
    got, everywhere = names(there, "**"), names(where, "**")
    for name in ("a", "b.1.c", "d.x"):
        node.wait_subscribers(name, 2)
    sent = [
        (name, n)
        for n in range(50)
        for name in ("a", "a.a", "b.1.c", f"b.{n}.c", "b.1.secret", "b.1.c.secret", "d", "d.x.y")
    ]
    for name, n in sent:
        here.get(name).send(n)
    node.flush()
    allowed = [pair for pair in sent if pair[0] in ("a", "d", "d.x.y") or pair[0].endswith(".c")]
    eventually(lambda: len(got) >= len(allowed))
    assert sorted(got) == sorted(allowed)  # type: ignore[type-var]
    assert sorted(everywhere) == sorted(sent)  # type: ignore[type-var]
    for name in {name for name, _ in sent}:
        assert [n for m, n in got if m == name] == [n for m, n in allowed if m == name]  # type: ignore[misc]
    assert other.stats().unwanted == 0
    assert not any(received.lost for received in other.stats().received.values())


def test_patterns_that_overlap_are_one_channel_behind_a_hub(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Several keys that leave the same part: what is permitted comes once, until the last goes."""
    permitted = '[south]\nsubscribe = ["a.*.c"]'
    _, (node, here), (other, there), (_, where) = three(keyed_hub, join, keyrings, permitted)
    names(where, "**")  # so that all of it reaches the hub
    overlapping_is_one_channel(node, here, other, there, 2)


def test_no_subscription_at_a_hub_lets_the_forbidden_through(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """A socket that subscribes to whatever it likes gets what its key is permitted alone."""
    permitted = '[south]\nsubscribe = ["open", "part.*.open"]'
    carried(keyrings, "north", "south", "west", permissions=permitted)
    hub = keyed_hub()
    node, here = behind(hub, join, keyrings, "north")
    _, where = behind(hub, join, keyrings, "west")
    got = names(where, "**")
    node.wait_subscribers("secret", 1)
    with raw_member(hub, keyrings("south"), keyrings("relay")) as thief:
        down = thief.down()
        for attempt in (
            b"", b"\x01", b"\x01s", b"\x01secret", topic("secret"), b"\x01part.", b"\x01o",
            b"\x01part.1.", topic("part.1.secret"), b"\xff", b"\xff" + bytes(24), b"\x02", b"\x00",
            b"\x01open", b"\x01secret\0\x01", topic("open") + b"x",
            b"\xfe", b"\xfe" + node_id(node), ready_topic(node_id(node), 1),
        ):  # fmt: skip
            down.send(b"\x01" + attempt)
        down.send(b"\x01" + topic("open"))
        frames: list[bytes] = []

        def arrived() -> bool:
            here.get("open").send("public")
            frames.extend(everything(down))
            return bool(frames)

        eventually(arrived)
        for name in ("secret", "part.1.secret", "part.1.open", "other", "open.not"):
            here.get(name).send("secret")
        here.get("open").send("last")
        node.flush()
        eventually(lambda: frames.extend(everything(down)) or b"last" in b"".join(frames))
        assert all(frame.startswith(topic("open")) for frame in frames)
    assert ("secret", "secret") in got
    assert "south may not subscribe to 'secret'" in complaints(hub)


def node_id(node: Node) -> bytes:
    return bytes.fromhex(node.id)


def greeted(thief: RawMember, to: bytes, *interest: str) -> "tuple[object, list[Control]]":
    """Enter, say hello to a node behind the hub, and return the link and what came."""
    control = thief.entered()
    way = Address("hub://" + thief.id.hex(), "hub://" + thief.id.hex())
    hello = Hello(thief.id, "fed", Label("raw", 1), (way,), 1, interest)
    heard: list[Control] = []

    def welcomed() -> bool:
        tell(control, thief, to, hello)
        heard.extend(controls(raw_frames(control))[0])
        return any(isinstance(message, Welcome) for message in heard)

    eventually(welcomed)
    return control, heard


def tell(control: object, thief: RawMember, to: bytes, *messages: Control) -> None:
    parcels = [Envelope(thief.id, to, 8, control_frame(message)) for message in messages]
    control.send(bundle(parcels))  # type: ignore[attr-defined]


def raw_frames(control: object) -> list[list[bytes]]:
    frames = []
    while control.poll(50):  # type: ignore[attr-defined]
        frames.append(control.recv_multipart())  # type: ignore[attr-defined]
    return frames


def controls(messages: list[list[bytes]]) -> tuple[list[Control], list[bytes]]:
    """Return the control messages, and the data frames, in what came from a hub."""
    said, data = [], []
    for first, *others in messages:
        if first[:1] == b"\x04":
            said += [read_control(parcel.content) for parcel in unbundle(first)]
        elif first[:1] == b"\x03":
            read_relay(first)
            if others[0][:1] == b"\x01":
                data += others
            else:
                said.append(read_control(others[0]))
    return said, data


def test_heads_replay_and_history_through_a_hub_reveal_nothing(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Ready frames, replays and recalls hold what the key may have, whatever is asked for."""
    permitted = '[south]\nsubscribe = ["open"]'
    carried(keyrings, "north", "south", "west", permissions=permitted)
    hub = keyed_hub()
    node, here = behind(hub, join, keyrings, "north")
    _, where = behind(hub, join, keyrings, "west")
    here.retain("**", 10)
    names(where, "**")
    node.wait_subscribers("secret", 1)
    for name in ("open", "secret", "secret.too"):
        here.get(name).send(f"in {name}")
    node.flush()
    with raw_member(hub, keyrings("south"), keyrings("relay")) as thief:
        down = thief.down()
        control, heard = greeted(thief, node_id(node), "**", "secret", "open")
        down.send(b"\x01" + ready_topic(thief.id, 1))
        asked: list[Control] = [
            Replay(thief.id, name, 1, 100, request)
            for request in (0, 1)
            for name in ("secret", "secret.too", "**", "open")
        ]
        asked += [Recall(thief.id, 7, key) for key in ("secret", "**", "secret.**")]
        tell(control, thief, node_id(node), *asked, Ping(thief.id, 1, 0))
        messages: list[list[bytes]] = []

        def ponged() -> bool:
            messages.extend(raw_frames(control))
            return any(isinstance(m, Pong) for m in controls(messages)[0])

        eventually(ponged)
        frames: list[bytes] = []
        eventually(lambda: frames.extend(everything(down)) or frames)
        answers, data = controls(messages)
        said = b"".join(part for message in messages for part in message)
        assert b"in open" in b"".join(data)
        assert b"secret" not in said
        assert b"secret" not in b"".join(frames)
        assert b"secret" not in repr(heard).encode()
        assert [m.name for m in answers if isinstance(m, Replayed)] == ["open", "open"]
        assert [m.ranges for m in answers if isinstance(m, Recalled)] == [{"open": (1, 1)}]


def test_a_late_joiner_behind_a_hub_gets_the_history_that_it_may(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Retained messages of permitted names come, under a pattern too, and no others."""
    carried(keyrings, "north", "south", permissions='[south]\nsubscribe = ["*.open"]')
    hub = keyed_hub()
    _, here = behind(hub, join, keyrings, "north")
    here.retain("**", 10)
    for n in range(5):
        here.get("x.open").send(n)
        here.get("x.secret").send(n)
    other, there = behind(hub, join, keyrings, "south")
    with there.match("**").stream(history=3, names=True) as stream:
        other.wait_ready()
        here.get("x.secret").send("live")
        here.get("x.open").send("live")
        got = [stream.get(timeout=30) for _ in range(4)]
    assert got == [("x.open", n) for n in (2, 3, 4, "live")]


def test_what_a_hub_itself_may_have_bounds_what_leaves(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """A node gives a hub what the hub's key may have, and nobody behind it is held up by more."""
    carried(keyrings, "north", "south")
    keyrings.permit("north", '[relay]\nhub = true\nsubscribe = ["open", "public.**"]')
    keyrings.friends("north", "east")
    hub = keyed_hub()
    topics = passed(hub)
    node, here = behind(hub, join, keyrings, "north", listen="tcp://127.0.0.1:0")
    _, direct = join(keys=keyrings("east"), peers=node.endpoints, local=False)
    everywhere = names(direct, "**")  # so that all of it is published
    node.wait_subscribers("secret", 1)
    _, there = behind(hub, join, keyrings, "south")
    got = names(there, "**")
    slow: list[object] = []
    node.events.handler(slow.append)
    for name in ("open", "public.x"):
        node.wait_subscribers(name, 2)
    for n in range(100):
        for name in ("open", "public.x", "secret", "opened"):
            here.get(name).send(n)
    node.flush()
    eventually(lambda: len(got) == 200 and len(everywhere) == 400)
    assert not [head for head in topics if b"secret" in head or b"opened" in head]
    assert {name for name, _ in got} == {"open", "public.x"}  # type: ignore[misc]
    assert not [event for event in slow if isinstance(event, PeerSlow)]


@pytest.mark.parametrize("dropped", ["**", "a.*", "a.x", "*.x"])
def test_a_part_that_several_topics_leave_goes_with_the_last(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings, dropped: str
) -> None:
    """A hub that ceases to ask for one topic is still given what another one covers."""
    carried(keyrings, "north", "south")
    keyrings.permit("north", '[relay]\nhub = true\nsubscribe = ["a.x", "b.**"]')
    hub = keyed_hub()
    node, here = behind(hub, join, keyrings, "north")
    other, there = behind(hub, join, keyrings, "south")
    got = names(there, "a.**")
    node.wait_subscribers("a.x", 1)
    for turn in range(3):
        key: View | Exchange[object] = (
            there.match(dropped) if "*" in dropped else there.get(dropped)
        )
        with key.subscribe(to_call(lambda msg: None)):
            other.wait_ready()
            here.get("a.x").send(turn)
            node.flush()
        other.wait_ready()
        here.get("a.x").send(turn)
        here.get("a.secret").send(turn)
        node.flush()
    assert got == [("a.x", turn) for turn in (0, 0, 1, 1, 2, 2)]


def test_two_files_that_disagree_are_told(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """What a node's file denies to one behind a hub, and the hub's does not, is an event."""
    carried(keyrings, "north", "south")
    keyrings.authorize("north", "south")
    keyrings.permit("north", '[relay]\nhub = true\n[south]\nsubscribe = ["open"]')
    hub = keyed_hub()
    node, here = behind(hub, join, keyrings, "north")
    here.retain("**", 5)
    here.get("secret").send("s")
    here.get("open").send("o")
    _, there = behind(hub, join, keyrings, "south")
    with there.match("**").stream(history=5, names=True) as stream:
        assert stream.get(timeout=30) == ("open", "o")
    eventually(lambda: ("south", "its hub gives it what it may not have here") in rejected(node))


def test_what_may_be_subscribed_to_at_a_hub_changes_while_running(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Less, and more, is in force without a restart, for living connections."""
    permitted = '[south]\nsubscribe = ["a", "b"]'
    _, (node, here), (_, there), (_, where) = three(keyed_hub, join, keyrings, permitted)
    got, all_of_it = names(there, "**"), names(where, "**")
    node.wait_subscribers("b", 2)
    keyrings.permit("relay", '[south]\nsubscribe = ["a"]')
    node.wait_subscribers("a", 2, timeout=30)
    eventually(lambda: counts(node, "b") == 1 and counts(node, "a") == 2)
    here.get("b").send("secret")
    here.get("a").send(1)
    node.flush()
    assert got == [("a", 1)]
    keyrings.permit("relay", '[south]\nsubscribe = ["c"]')
    eventually(lambda: counts(node, "c") == 2 and counts(node, "a") == 1)

    def received() -> bool:
        # To each end the other is somebody new, and one may know of that before the other one.
        for name in "abc":
            here.get(name).send(2)
        node.flush()
        return ("c", 2) in got

    eventually(received)
    assert got[0] == ("a", 1)
    assert set(got[1:]) == {("c", 2)}
    assert {("b", "secret"), ("a", 1), ("a", 2), ("b", 2), ("c", 2)} == set(all_of_it)


def counts(node: Node, name: str) -> int:
    engine = node._engine
    assert engine is not None
    with engine.changed:
        peers = engine.session.members.peers.values()
        return sum(peer.interest.in_force(name) for peer in peers)


# ------------------------------------------------------------------------------- publishing


def test_a_hub_takes_only_what_may_be_published(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """The rest is not taken there, nobody waits for it, and who sends it is not held up."""
    permitted = '[south]\npublish = ["open.**"]'
    _, (_, here), (other, there), _ = three(keyed_hub, join, keyrings, permitted)
    got = names(here, "**")
    slow: list[object] = []
    other.events.handler(slow.append)
    other.wait_subscribers("open.a", 1)
    for n in range(500):
        there.get("secret").send(n)
        there.get("open.a").send(n)
    other.flush()
    eventually(lambda: len(got) == 500)
    assert got == [("open.a", n) for n in range(500)]
    assert not [event for event in slow if isinstance(event, PeerSlow)]


def test_what_is_published_all_the_same_is_dropped_at_the_hub(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Live or sent again, by one that keeps to no rule: counted, told once, passed on never."""
    permitted = '[west]\npublish = ["open"]'
    carried(keyrings, "north", "south", "west", permissions=permitted)
    hub = keyed_hub()
    node, here = behind(hub, join, keyrings, "north")
    got = names(here, "**")
    with raw_member(hub, keyrings("west"), keyrings("relay")) as thief:
        control, heard = greeted(thief, node_id(node))
        (welcome,) = [m for m in heard if isinstance(m, Welcome)][:1]
        assert welcome.hello.interest == ("open",)  # it is not told what else is wanted
        up = thief.introduced()
        for name in ("secret", "open.not", "op\0en", "open"):
            frame = data_head(topic(name), thief.id, 1, 1, 0.0) + b"\xa6forged"
            up.send(frame)
            up.send(frame)
            control.send_multipart([relay_head(thief.id, node_id(node)), frame])  # type: ignore[attr-defined]
        reason = "west may not publish on 'secret'"
        eventually(lambda: hub.stats().rejected.get(reason, 0) >= 2)
        eventually(lambda: ("open", "forged") in got or hub.stats().frames)
    assert not [pair for pair in got if pair[0] != "open"]  # type: ignore[index]


def test_a_publisher_is_not_told_what_is_wanted_that_it_may_not_give(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Neither the hub's subscriptions nor any message names what others listen to."""
    permitted = '[west]\npublish = ["open.*"]'
    carried(keyrings, "north", "south", "west", permissions=permitted)
    hub = keyed_hub()
    node, here = behind(hub, join, keyrings, "north")
    collect(here, "secret")
    names(here, "hidden.*.deep")
    collect(here, "open.x")
    with raw_member(hub, keyrings("west"), keyrings("relay")) as thief:
        control, heard = greeted(thief, node_id(node))
        up = thief.introduced()
        collect(here, "secret.later")
        collect(here, "open.later")
        told: list[object] = [heard]

        def later() -> bool:
            told.append(controls(raw_frames(control)))
            return "open.later" in repr(told)

        eventually(later)
        engine = node._engine
        assert engine is not None
        last = b"\1" + ready_topic(node_id(node), engine.session.interest.epoch)
        eventually(lambda: last in thief.asked_for(up))  # names come before tokens
        assert "secret" not in repr(told)
        assert "hidden" not in repr(told)
        assert not [asked for asked in thief.asked if b"secret" in asked or b"hidden" in asked]
    keyrings.permit("relay", "")  # and by name again, where nobody is restricted
    other, there = behind(hub, join, keyrings, "south")
    other.wait_subscribers("secret", 1, timeout=30)
    there.get("secret").send(1)
    other.flush()


def test_a_receiver_judges_by_the_key_of_the_true_origin(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Where it knows that key: what its own file does not permit is dropped, told once."""
    carried(keyrings, "north", "south", "west")
    keyrings.authorize("north", "south")
    keyrings.permit("north", '[relay]\nhub = true\n[south]\npublish = ["open"]')
    hub = keyed_hub()
    node, here = behind(hub, join, keyrings, "north")
    got = names(here, "**")
    other, there = behind(hub, join, keyrings, "south")
    _, where = behind(hub, join, keyrings, "west")
    elsewhere = names(where, "**")
    told: list[object] = []
    node.events.handler(told.append)
    other.wait_subscribers("secret", 1)
    other.wait_subscribers("open", 2)
    for n in range(100):
        there.get("secret").send(n)
        there.get("open").send(n)
    other.flush()
    assert got == [("open", n) for n in range(100)]
    eventually(lambda: len(elsewhere) == 200)
    reason = ("south", "may not publish on 'secret'")
    eventually(lambda: rejected(node).get(reason))
    events = [e for e in told if isinstance(e, Rejected) and e.reason == reason[1]]
    assert len(events) == 1


def test_a_hubs_own_permissions_bound_what_it_may_carry(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Of nodes whose keys are not known, a node takes what the hub's key may publish."""
    carried(keyrings, "north", "south")
    keyrings.permit("north", '[relay]\nhub = true\npublish = ["public.**"]')
    hub = keyed_hub()
    node, here = behind(hub, join, keyrings, "north")
    got = names(here, "**")
    other, there = behind(hub, join, keyrings, "south")
    other.wait_subscribers("public.x", 1)
    assert other.peers[0].interest == ("public.**",)
    for n in range(10):
        there.get("public.x").send(n)
        there.get("secret").send(n)
    other.flush()
    assert got == [("public.x", n) for n in range(10)]
    assert not reasons(node)


def test_what_a_node_takes_of_its_hub_changes_while_running(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Publishers are told what is for them from then on, less of it and more of it."""
    carried(keyrings, "north", "south")
    hub = keyed_hub()
    node, here = behind(hub, join, keyrings, "north")
    other, there = behind(hub, join, keyrings, "south")
    got = names(there, "**")
    node.wait_subscribers("a", 1)
    for permitted in (["a"], ["a", "b"], ["b"]):
        text = str(permitted).replace("'", '"')
        keyrings.permit("south", f"[relay]\nhub = true\npublish = {text}")
        eventually(lambda expected=permitted: told(node) == expected)  # type: ignore[misc]
        other.wait_peers(1)
        other.wait_ready()
        for name in permitted:
            node.wait_subscribers(name, 1)
        got.clear()
        for name in ("a", "b"):
            here.get(name).send(len(permitted))
        node.flush()
        assert got == [(name, len(permitted)) for name in permitted]


def test_what_is_sent_again_is_judged_for_both_ends(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Data on a control link passes if its sender may publish it, and its receiver have it."""
    permitted = '[west]\npublish = ["a", "b"]\n[south]\nsubscribe = ["b", "c"]'
    carried(keyrings, "west", "south", permissions=permitted)
    hub, relay = keyed_hub(), keyrings("relay")
    with raw_member(hub, keyrings("west"), relay) as sender:
        with raw_member(hub, keyrings("south"), relay) as receiver:
            ours, theirs = sender.entered(), receiver.entered()
            for name in "abc":
                frame = data_head(topic(name), sender.id, 1, 1, 0.0) + b"\xc0"
                ours.send_multipart([relay_head(sender.id, receiver.id), frame])
            tell(ours, sender, receiver.id, Ping(sender.id, 1, 0))
            messages: list[list[bytes]] = []

            def last() -> bool:
                messages.extend(raw_frames(theirs))
                return any(isinstance(m, Ping) for m in controls(messages)[0])

            eventually(last)
            assert [frame[:3] for frame in controls(messages)[1]] == [topic("b")]


# ------------------------------------------------------------------------------- two hubs


def test_permissions_hold_across_two_hubs(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """What the hub of a node permits it holds for nodes of another hub, heads and history too."""
    permitted = '[one]\nhub = true\n[south]\nsubscribe = ["open", "part.*.open"]\npublish = ["up"]'
    first, second = linked(keyed_hub, keyrings, at_two=permitted)
    node, here = behind(first, join, keyrings, "north", retain={"**": 5})
    back = names(here, "**")
    for name in ("open", "secret", "part.1.open", "part.1.secret"):
        here.get(name).send(f"kept {name}")
    other, there = behind(second, join, keyrings, "south")
    with there.match("**").stream(history=5, names=True) as stream:
        node.wait_subscribers("part.1.open", 1)
        for name in ("secret", "part.2.secret", "part.2.open", "open"):
            here.get(name).send(f"live {name}")
        node.flush()
        got = [stream.get(timeout=30) for _ in range(4)]
    assert sorted(got) == [
        ("open", "kept open"),
        ("open", "live open"),
        ("part.1.open", "kept part.1.open"),
        ("part.2.open", "live part.2.open"),
    ]
    other.wait_subscribers("up", 1)
    back.clear()
    there.get("down").send(1)
    there.get("up").send(2)
    other.flush()
    assert back == [("up", 2)]


def test_a_hub_bounds_what_another_hub_may_carry_and_have(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Between hubs the permissions of the hub's key hold, both ways."""
    at_one = '[two]\nhub = true\nsubscribe = ["open"]\npublish = ["up"]'
    carried(keyrings, "west", hub="one")
    carried(keyrings, "east", hub="two")
    first, second = linked(keyed_hub, keyrings, at_one=at_one)
    to_second = passed(second)
    node, here = behind(first, join, keyrings, "north")
    other, there = behind(second, join, keyrings, "south")
    # At either hub somebody else listens to it all: so it is published.
    beside = names(behind(first, join, keyrings, "west")[1], "**")
    too = names(behind(second, join, keyrings, "east")[1], "**")
    got, back = names(there, "**"), names(here, "**")
    node.wait_subscribers("open", 3)
    node.wait_subscribers("secret", 1)
    other.wait_subscribers("down", 1)
    other.wait_subscribers("up", 3)
    for name in ("open", "secret"):
        here.get(name).send(name)
    for name in ("up", "down"):
        there.get(name).send(name)
    node.flush()
    other.flush()
    eventually(lambda: ("secret", "secret") in beside and ("down", "down") in too)
    assert not [head for head in to_second if b"secret" in head]
    assert "two may not publish on 'down'" in complaints(first)
    assert [pair for pair in got if pair[0] in ("open", "secret")] == [("open", "open")]  # type: ignore[index]
    assert [pair for pair in back if pair[0] in ("up", "down")] == [("up", "up")]  # type: ignore[index]

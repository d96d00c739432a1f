"""Hubs with keys: who is carried, who may be a hub, and what is shown where one may not."""

import time

import pytest
import zmq

from tests.net.conftest import Joiner, collect, publish
from tests.net.keyedhubs import Huber, behind, carried, hear_word, raw_member, say_word
from tests.net.keyrings import Keyrings, everything
from tests.support import Program, eventually, tcp
from zexchange import Lost, Node, PeerLeft, Registry, to_call
from zexchange.net.hub.hub import Hub
from zexchange.net.security.guard import CurveGuard
from zexchange.protocol.hub.messages import HubState, Refused
from zexchange.protocol.security.keys import id_for
from zexchange.protocol.wire.control import control_frame
from zexchange.protocol.wire.data import data_head, ready_topic, topic
from zexchange.protocol.wire.envelopes import (
    Envelope,
    bundle,
    hub_source_head,
    mark_topic,
    relay_head,
)
from zexchange.protocol.wire.messages import Bye

pytestmark = pytest.mark.sockets


def reasons(node: Node) -> set[str]:
    return {reason for _, reason in node.stats().rejected}


def complaints(hub: Hub) -> str:
    return "\n".join(hub.stats().rejected)


def pair(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> tuple[Hub, Node, Registry, Node, Registry, list[object]]:
    """Return a hub, two nodes behind it, and what the second hears of the first."""
    carried(keyrings, "north", "south")
    hub = keyed_hub()
    node, mine = behind(hub, join, keyrings, "north")
    other, theirs = behind(hub, join, keyrings, "south")
    got = collect(theirs, "x")
    node.wait_subscribers("x", 1)
    return hub, node, mine, other, theirs, got


def still_good(sender: Node, here: Registry, got: list[object]) -> None:
    """A good peer gets everything that is sent now."""
    got.clear()
    for n in range(300):
        here.get("x").send(n)
    sender.flush()
    assert got == list(range(300))


# ----------------------------------------------------------------------- as without keys


def test_nodes_of_a_hub_with_keys_are_one_channel(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Nodes that know the hub's key only are each other's peers: both ways, once, in order."""
    hub, node, mine, other, theirs, got = pair(keyed_hub, join, keyrings)
    back = collect(mine, "y")
    other.wait_subscribers("y", 1)
    for n in range(1000):
        mine.get("x").send(n)
        theirs.get("y").send(n)
    node.flush()
    other.flush()
    assert got == back == list(range(1000))
    assert [peer.ready for peer in (*node.peers, *other.peers)] == [True, True]
    assert not node.stats().rejected
    assert not other.stats().rejected
    assert not hub.stats().rejected


def test_history_large_messages_and_patterns(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """What is kept, 8 MiB with what is attached, and patterns come through keys as without."""
    carried(keyrings, "north", "south")
    hub = keyed_hub()
    node, mine = behind(hub, join, keyrings, "north", retain={"x": 3})
    for n in range(10):
        mine.get("x").send(n)
    other, theirs = behind(hub, join, keyrings, "south")
    got: list[object] = []
    theirs.get("x").attach(to_call(got.append), history=3)
    eventually(lambda: got == [7, 8, 9])
    below: list[object] = []
    theirs.match("a.*.c").attach(to_call(below.append))
    other.wait_ready()
    body = bytes(range(256)) * (32 << 10)
    mine.get("a.b.c").send(body)
    mine.get("a.b.d").send("not this")
    mine.get("x").send(10)
    node.flush()
    assert below == [body]
    assert got == [7, 8, 9, 10]


def test_two_linked_hubs_with_keys_are_one_federation(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Hubs that are marked so at each other carry data, acknowledgements and history between."""
    first, second = linked(keyed_hub, keyrings)
    node, mine = behind(first, join, keyrings, "north", retain={"x": 2})
    other, theirs = behind(second, join, keyrings, "south")
    for n in range(5):
        mine.get("x").send(n)
    got: list[object] = []
    theirs.get("x").attach(to_call(got.append), history=2)
    eventually(lambda: got == [3, 4])
    node.wait_subscribers("x", 1)
    for n in range(5, 500):
        mine.get("x").send(n)
    node.flush()
    assert got == list(range(3, 500))
    back = collect(mine, "y")
    other.wait_subscribers("y", 1)
    theirs.get("y").send("back")
    other.flush()
    assert back == ["back"]


def linked(
    keyed_hub: Huber,
    keyrings: Keyrings,
    at_one: str = "[two]\nhub = true\n",
    at_two: str = "[one]\nhub = true\n",
) -> tuple[Hub, Hub]:
    """Return two hubs that know each other, ``north`` to be carried by one, ``south`` by two."""
    carried(keyrings, "north", hub="one", permissions=at_one)
    carried(keyrings, "south", hub="two", permissions=at_two)
    keyrings.friends("one", "two")
    first = keyed_hub("one")
    second = keyed_hub("two", peers=(first.endpoint,))
    eventually(lambda: first.stats().hubs == second.stats().hubs == 1)
    return first, second


def test_a_node_on_two_hubs_goes_on_by_the_other(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Each with a key of its own: everything comes once, and on when one of them dies."""
    for hub_ in ("one", "two"):
        keyrings.authorize(hub_, "north", "south")
    first, second = linked(keyed_hub, keyrings)
    for node_ in ("north", "south"):
        keyrings.authorize(node_, "one", "two")
        keyrings.permit(node_, "[one]\nhub = true\n[two]\nhub = true\n")
    both = (first.endpoint, second.endpoint)
    node, mine = join(hub=both, keys=keyrings("north"), local=False)
    other, theirs = join(hub=both, keys=keyrings("south"), local=False)
    got = collect(theirs, "x")
    node.wait_subscribers("x", 1)
    for n in range(300):
        mine.get("x").send(n)
    node.flush()
    (asked,) = [hub for hub in (first, second) if topic("x") in hub._core.wants]
    asked.close()
    for n in range(300, 600):
        mine.get("x").send(n)
    node.flush(30)
    assert got == list(range(600))
    (received,) = other.stats().received.values()
    assert received.duplicates == received.lost == 0


HUB = """
from zexchange.net.hub.hub import Hub
hub = Hub("fed", sys.argv[1], keys=sys.argv[2])
print(hub.endpoint)
sys.stdin.read()
hub.close()
"""


def test_a_hub_with_keys_that_dies_costs_nothing(join: Joiner, keyrings: Keyrings) -> None:
    """A hub's process is killed under traffic and comes back: all arrives, once and in order."""
    from tests.net.test_hub import three_ports

    carried(keyrings, "north", "south")
    where, keys = three_ports(), str(keyrings("relay"))
    with Program(HUB, where, keys) as hub:
        hub.line()
        node, mine = join(hub=where, keys=keyrings("north"), local=False)
        _, theirs = join(hub=where, keys=keyrings("south"), local=False)
        got = collect(theirs, "x")
        node.wait_subscribers("x", 1)
        for n in range(1000):
            mine.get("x").send(n)
        hub.kill()
        hub.process.wait()
        for n in range(1000, 2000):
            mine.get("x").send(n)
        with Program(HUB, where, keys) as again:
            again.line()
            for n in range(2000, 3000):
                mine.get("x").send(n)
            eventually(lambda: len(got) == 3000, 60)
            node.flush(30)
            assert got == list(range(3000))
            node.close()


def test_a_direct_way_is_preferred_with_keys(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Nodes that also find each other on this host go there, and get everything once."""
    carried(keyrings, "north", "south")
    hub = keyed_hub()
    node, mine = join(hub=hub.endpoint, keys=keyrings("north"))
    other, theirs = join(hub=hub.endpoint, keys=keyrings("south"))
    got = collect(theirs, "x")
    eventually(lambda: all((n.peers[0].control or "").startswith("ipc:") for n in (node, other)))
    node.wait_subscribers("x", 1)
    frames = hub.stats().frames
    for n in range(100):
        mine.get("x").send(n)
    node.flush()
    assert got == list(range(100))
    assert len(node.peers) == len(other.peers) == 1
    assert hub.stats().frames == frames


# ------------------------------------------------------------------------- who is not let in


def test_a_key_that_a_hub_does_not_know_gets_nothing(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Not a message crosses, both ends say why, and the nodes there notice nothing."""
    hub, node, mine, _, _, got = pair(keyed_hub, join, keyrings)
    keyrings.authorize("thief", "relay")
    keyrings.permit("thief", "[relay]\nhub = true\n")
    thief, where = behind(hub, join, keyrings, "thief", join_timeout=0.1)
    leaked = collect(where, "x")
    eventually(lambda: "key unknown there" in reasons(thief))
    eventually(lambda: "key unknown" in complaints(hub))
    where.get("x").send("forged")
    still_good(node, mine, got)
    assert thief.peers == ()
    assert leaked == ["forged"]
    assert len(node.peers) == 1


def test_a_node_without_keys_gets_nothing_at_a_hub_with_keys(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Plain text against a hub with keys: nothing crosses, and both ends say why."""
    hub, node, mine, _, _, got = pair(keyed_hub, join, keyrings)
    plain, where = join(hub=hub.endpoint, local=False, join_timeout=0.1)
    leaked = collect(where, "x")
    eventually(lambda: "encrypted there" in reasons(plain))
    eventually(lambda: "no key" in complaints(hub))
    still_good(node, mine, got)
    assert plain.peers == ()
    assert leaked == []


def test_plain_sockets_at_every_endpoint_of_a_hub_get_nothing(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """A plain DEALER, XSUB and XPUB hear nothing, of whatever they say and subscribe to."""
    hub, node, mine, _, _, got = pair(keyed_hub, join, keyrings)
    with raw_member(hub, None, keyrings("relay")) as thief:
        sockets: list[zmq.Socket[bytes]] = []

        def seen() -> bool:
            # Each end may be the first to see that they differ, and then closes.
            control, down = thief.control(), thief.down()
            sockets.extend((control, down, thief.up()))
            say_word(control, thief.enter())
            down.send(b"\1")
            mine.get("x").send("secret")
            said = complaints(hub)
            return "control: no key" in said and "data: no key" in said

        eventually(seen)
        node.flush()
        still_good(node, mine, got)
        assert not any(socket.poll(0) for socket in sockets)


def test_a_node_with_keys_says_nothing_to_a_hub_without(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """A node that has keys is not carried by a hub that has none, and says why."""
    carried(keyrings, "north")
    plain = Hub("fed", tcp(0))
    try:
        node, _ = behind(plain, join, keyrings, "north", join_timeout=0.1)
        eventually(lambda: "not encrypted there" in reasons(node))
        assert plain.stats().nodes == 0
    finally:
        plain.close()


def test_another_key_than_a_hubs_gets_nothing(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Who expects another key where a hub is says nothing to it, and says why."""
    hub, node, mine, _, _, got = pair(keyed_hub, join, keyrings)
    keyrings.authorize("relay", "deceived")
    keyrings.authorize("deceived", "elsewhere")
    keyrings.permit("deceived", "[elsewhere]\nhub = true\n")
    deceived, where = behind(hub, join, keyrings, "deceived", join_timeout=0.1)
    leaked = collect(where, "x")
    eventually(lambda: "wrong key" in reasons(deceived))
    eventually(lambda: "not our key" in complaints(hub))
    still_good(node, mine, got)
    assert hub.stats().nodes == 2
    assert leaked == []


def test_a_hub_that_is_not_marked_is_told_nothing(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Without ``hub = true`` at the node a hub is no hub to it; the reason has the remedy."""
    hub, node, mine, _, _, got = pair(keyed_hub, join, keyrings)
    keyrings.friends("relay", "west")
    told: list[object] = []
    west, where = behind(hub, join, keyrings, "west", join_timeout=0.1)
    west.events.handler(told.append)
    leaked = collect(where, "x")
    eventually(lambda: (hub.endpoint, "no hub's key") in west.stats().rejected)
    still_good(node, mine, got)
    assert hub.stats().nodes == 2
    assert leaked == []
    keyrings.permit("west", "[relay]\nhub = true\n")
    west.wait_peers(2, timeout=30)
    node.wait_subscribers("x", 2, timeout=30)
    still_good(node, mine, got)
    node.flush()
    assert leaked[-1] == 299


def test_a_hub_that_is_no_hub_to_another_is_not_linked(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Hubs link only where each is marked at the other; which is missing is said at both."""
    carried(keyrings, "north", hub="one")
    carried(keyrings, "south", hub="two", permissions="[one]\nhub = true\n")
    keyrings.friends("one", "two")
    first = keyed_hub("one")
    second = keyed_hub("two", peers=(first.endpoint,))
    node, _ = behind(first, join, keyrings, "north")
    _, there = behind(second, join, keyrings, "south")
    leaked = collect(there, "x")
    eventually(lambda: "hub = true under [two]" in complaints(first))
    eventually(lambda: "this key may not carry others" in complaints(second))
    assert first.stats().hubs == second.stats().hubs == 0
    assert not node.peers
    assert not leaked
    keyrings.permit("one", "[two]\nhub = true\n")
    node.wait_subscribers("x", 1, timeout=40)


# --------------------------------------------------------------------- speaking for others


def test_nobody_enters_under_the_id_of_another_key(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """An id goes with its key: the hub turns away who says to be another node, or a hub."""
    hub, node, *_ = pair(keyed_hub, join, keyrings)
    with raw_member(hub, keyrings("south"), keyrings("relay")) as thief:
        control = thief.control()
        made_up = id_for(keyrings.public("west"), bytes(16))
        for sender in (bytes.fromhex(node.id), made_up, bytes(16)):
            say_word(control, thief.enter(sender=sender))
            answer = hear_word(control)
            assert isinstance(answer, Refused)
            assert answer.reason == "identity"
        say_word(control, thief.enter(hub=True, endpoint="tcp://127.0.0.1:9"))
        answer = hear_word(control)
        assert isinstance(answer, Refused)
        assert answer.reason == "key"
        assert "hub = true under [south]" in answer.text
    assert hub.stats().nodes == 2


def test_no_frame_passes_under_another_origin(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Published, sent again, or as a hub would: what names another origin goes no further."""
    hub, node, mine, other, _theirs, got = pair(keyed_hub, join, keyrings)
    victim = bytes.fromhex(node.id)
    forged = data_head(topic("x"), victim, 1, 1, 0.0) + b"\xa6forged"
    carried(keyrings, "north", "south", "west")
    eventually(lambda: "west" in str([r.name for r in rights_at(hub)]))
    with raw_member(hub, keyrings("west"), keyrings("relay")) as thief:
        control = thief.entered()
        up = thief.introduced()
        to = bytes.fromhex(other.id)
        up.send(forged)
        control.send_multipart([relay_head(thief.id, to), forged])
        control.send_multipart([relay_head(victim, to), forged])
        control.send_multipart([hub_source_head(victim, 5), forged])
        control.send(bundle([Envelope(victim, to, 5, control_frame(Bye(victim, {})))]))
        say_word(control, HubState(thief.id, 1, (), ((victim, False),)))
        eventually(lambda: len(hub.stats().rejected) >= 4)
        still_good(node, mine, got)
    assert len(other.peers) >= 1
    assert "forged" not in got
    publish(other, lambda _: [[forged]])
    still_good(node, mine, got)


def rights_at(hub: Hub) -> list[object]:
    policy = hub._keys._guard.policy
    assert policy is not None
    return [policy.rights(key) for key in policy.authorized]


def test_a_secret_alone_opens_no_connection_of_another_key(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Who knows what a hub has told a node still cannot publish as it with a key of its own."""
    hub, node, mine, _other, _, got = pair(keyed_hub, join, keyrings)
    victim = hub._core.members[bytes.fromhex(node.id)]
    with raw_member(hub, keyrings("south"), keyrings("relay")) as thief:
        thief.id, thief.secret = victim.id, victim.secret
        up = thief.introduced()
        eventually(lambda: "a data connection of somebody" in complaints(hub))
        up.send(data_head(topic("x"), victim.id, 1, 1, 0.0) + b"\xa6forged")
        eventually(lambda: "not its origin's" in complaints(hub))
        still_good(node, mine, got)


def test_tokens_and_marks_are_for_their_owner(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """What is told to one node, its proofs and marks, no other key can subscribe to."""
    hub, node, mine, other, _, _got = pair(keyed_hub, join, keyrings)
    victim = bytes.fromhex(other.id)
    with raw_member(hub, keyrings("north"), keyrings("relay")) as thief:
        down = thief.down()
        for attempt in (b"\xff", b"\xfe", b"", mark_topic(victim), ready_topic(victim, 1)):
            down.send(b"\1" + attempt)
        down.send(b"\1" + topic("x"))
        frames: list[bytes] = []

        def arrived() -> bool:
            mine.get("x").send(0)
            frames.extend(everything(down))
            return bool(frames)

        eventually(arrived)
        other.wait_ready()
        collect(_registry(other), "later")
        other.wait_ready()
        node.flush()
        assert all(frame.startswith(topic("x")) for frame in [*frames, *everything(down)])


def _registry(node: Node) -> Registry:
    return node._registry


# ------------------------------------------------------------------ keys that come and go


def test_a_key_that_is_removed_is_cut_off_at_the_hub(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Within two seconds nothing crosses any more, in either direction; others notice nothing."""
    hub, node, mine, other, theirs, got = pair(keyed_hub, join, keyrings)
    events: list[object] = []
    node.events.handler(events.append)
    back = collect(mine, "y")
    other.wait_subscribers("y", 1)
    began = time.monotonic()
    keyrings.revoke("relay", "south")
    eventually(lambda: not node.peers)
    assert hub.stats().nodes == 1
    eventually(lambda: any(isinstance(e, PeerLeft) and e.reason == "revoked" for e in events))
    print(f"cut off after {time.monotonic() - began:.1f} s")
    got.clear()
    mine.get("x").send("after")
    theirs.get("y").send("after")
    eventually(lambda: "key unknown there" in reasons(other))
    assert got == back == []
    for _ in range(2):
        keyrings.authorize("relay", "south")
        node.wait_subscribers("x", 1, timeout=40)
        other.wait_subscribers("y", 1, timeout=40)
        still_good(node, mine, got)
        theirs.get("y").send("again")
        other.flush()
        assert back.pop() == "again"
        keyrings.revoke("relay", "south")
        eventually(lambda: not node.peers)


def test_raw_connections_of_a_revoked_key_are_cut_at_a_hub(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """Who keeps to no protocol loses all three, one included that it has not said is its own."""
    hub, node, mine, *_ = pair(keyed_hub, join, keyrings)
    with raw_member(hub, keyrings("south"), keyrings("relay")) as thief:
        control, down = thief.entered(), thief.down()
        ours, mute = thief.introduced(), thief.up()
        down.send(b"\1" + topic("x"))
        eventually(lambda: mute.poll(0))
        eventually(lambda: len(hub._core.by_connection) == 3)

        def arrives() -> bool:
            mine.get("x").send("before")
            return bool(everything(down))

        eventually(arrives)
        sockets = (control, down, ours, mute)
        ends = [s.get_monitor_socket(zmq.EVENT_DISCONNECTED) for s in sockets]
        keyrings.revoke("relay", "south")
        for end in ends:
            assert end.poll(30_000)
        everything(down)
        mine.get("x").send("after")
        ours.send(data_head(topic("x"), thief.id, 1, 1, 0.0) + b"\xc0")
        node.flush()
        assert not [frame for frame in everything(down) if b"after" in frame]


def test_others_lose_nothing_by_a_revocation(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """While one key is revoked and admitted again, the others lose no message."""
    hub, node, mine, other, _, got = pair(keyed_hub, join, keyrings)
    carried(keyrings, "north", "south", "west")
    west, _ = behind(hub, join, keyrings, "west")
    west.wait_peers(2, timeout=30)
    lost: list[object] = []
    other.events.handler(lost.append)
    sent = 0

    def more() -> int:
        nonlocal sent
        mine.get("x").send(sent)
        sent += 1
        return len(node.peers)

    keyrings.revoke("relay", "west")
    eventually(lambda: more() == 1)
    keyrings.authorize("relay", "west")
    eventually(lambda: more() == 2, 40)
    node.flush()
    assert got == list(range(sent))
    assert not [event for event in lost if isinstance(event, Lost)]


def test_a_hub_that_is_unmarked_carries_nothing_more(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """A node that takes ``hub = true`` back leaves at once, and returns when it is there again.

    What was sent meanwhile comes then, and not before.
    """
    hub, node, mine, other, _theirs, got = pair(keyed_hub, join, keyrings)
    keyrings.permit("south", "")
    eventually(lambda: not other.peers)
    eventually(lambda: (hub.endpoint, "no hub's key") in other.stats().rejected)
    got.clear()
    mine.get("x").send("after")
    assert got == []
    keyrings.permit("south", "[relay]\nhub = true\n")
    node.wait_subscribers("x", 1, timeout=60)
    other.wait_peers(1, timeout=60)
    eventually(lambda: all(peer.ready for peer in (*node.peers, *other.peers)), 60)
    eventually(lambda: got == ["after"])  # sent while it was away, which was for it as well
    still_good(node, mine, got)


def test_only_a_hubs_key_is_expected_where_others_come_from(keyrings: Keyrings) -> None:
    """No socket is readied for a hub's data with a key that is not marked, or not known."""
    carried(keyrings, "north")
    keyrings.authorize("north", "south")
    guard, context = CurveGuard(keyrings("north")), zmq.Context()
    try:
        socket = context.socket(zmq.SUB)
        for name, may in (("relay", True), ("south", False), ("west", False)):
            key = keyrings.public(name)
            assert guard.unlock_hub(socket, tcp(1), key) is may
            assert guard.may_carry(key) is may
    finally:
        context.destroy(linger=0)


def test_hubs_part_when_one_is_unmarked(keyed_hub: Huber, join: Joiner, keyrings: Keyrings) -> None:
    """A link between hubs ends with the right to it, and is made again with it."""
    first, second = linked(keyed_hub, keyrings)
    node, mine = behind(first, join, keyrings, "north")
    _, theirs = behind(second, join, keyrings, "south")
    got = collect(theirs, "x")
    node.wait_subscribers("x", 1)
    still_good(node, mine, got)
    keyrings.permit("one", "")
    eventually(lambda: first.stats().hubs == second.stats().hubs == 0)
    got.clear()
    mine.get("x").send("after")
    assert got == []
    keyrings.permit("one", "[two]\nhub = true\n")
    eventually(lambda: first.stats().hubs == second.stats().hubs == 1, 60)
    node.wait_subscribers("x", 1, timeout=60)
    mine.get("x").send("last")
    eventually(lambda: got[-1:] == ["last"])

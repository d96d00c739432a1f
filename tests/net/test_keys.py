"""Who may come in over TCP: keys known and unknown, plain text, revoked and added while running."""

import logging
import os
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
import zmq

from tests.net.conftest import Joiner, collect
from tests.net.keyrings import Keyrings, everything, hear, raw, say, strangers
from tests.relay import Relay
from tests.support import PATIENCE, eventually, tcp
from zexchange import InvalidKeys, Lost, Node, PeerLeft, Registry, federate
from zexchange.net.security.guard import CurveGuard
from zexchange.net.security.key_directory import make_keys
from zexchange.net.security.monitors import BROKEN_OFF
from zexchange.protocol.wire.data import ready_topic, topic
from zexchange.protocol.wire.messages import Ack, Address, Named, Ping, Refuse, Welcome

pytestmark = pytest.mark.sockets
HERE = "tcp://127.0.0.1:0"


def reasons(node: Node) -> set[str]:
    return {reason for _, reason in node.stats().rejected}


def pair(join: Joiner, keyrings: Keyrings) -> tuple[Node, Registry, Node, Registry]:
    """Return two nodes over TCP that know each other's keys."""
    keyrings.friends("north", "south")
    node, here = join(keys=keyrings("north"), listen=HERE, local=False)
    other, there = join(keys=keyrings("south"), peers=node.endpoints, local=False)
    return node, here, other, there


def still_good(sender: Node, here: Registry, got: list[object]) -> None:
    """A good peer gets everything that is sent now."""
    got.clear()
    for n in range(300):
        here.get("x").send(n)
    sender.flush()
    assert got == list(range(300))


def test_who_knows_each_others_keys_is_one_channel(join: Joiner, keyrings: Keyrings) -> None:
    """Messages cross in both directions over TCP, and nothing is rejected."""
    node, here, other, there = pair(join, keyrings)
    got, back = collect(there, "x"), collect(here, "x")
    node.wait_subscribers("x", 1)
    other.wait_subscribers("x", 1)
    here.get("x").send("to")
    there.get("x").send("fro")
    node.flush()
    other.flush()
    assert sorted(got) == ["fro", "to"]  # type: ignore[type-var]
    assert sorted(back) == ["fro", "to"]  # type: ignore[type-var]
    assert not node.stats().rejected
    assert not other.stats().rejected


def test_nothing_on_the_wire_can_be_read(
    relays: tuple[Relay, Relay], join: Joiner, keyrings: Keyrings
) -> None:
    """Neither names nor messages nor the federation's name cross in plain text."""
    keyrings.friends("north", "south")
    for relay in relays:
        relay.seen = []
    node, here = join(
        "fedfedfed",
        keys=keyrings("north"),
        listen=[tcp(relay._target) for relay in relays],
        advertise=[tcp(relay.port) for relay in relays],
        local=False,
    )
    _, there = join("fedfedfed", keys=keyrings("south"), peers=[tcp(relays[0].port)], local=False)
    got = collect(there, "name-of-it")
    node.wait_subscribers("name-of-it", 1)
    here.get("name-of-it").send("message-in-it")
    node.flush()
    assert got == ["message-in-it"]
    wire = b"".join(data for relay in relays for data in relay.seen or ())
    assert b"CURVE" in wire
    for secret in (b"fedfedfed", b"name-of-it", b"message-in-it"):
        assert secret not in wire


def test_the_key_behind_an_endpoint_is_found_among_many(join: Joiner, keyrings: Keyrings) -> None:
    """An endpoint has no key beside it: of those that are authorized, the right one is found."""
    keyrings.friends("north", "south")
    for number, line in enumerate(strangers(25)):
        (keyrings("south") / "authorized" / f"a{number:02}.pub").write_text(line)
    node, here = join(keys=keyrings("north"), listen=HERE, local=False)
    _, there = join(keys=keyrings("south"), peers=node.endpoints, local=False)
    got = collect(there, "x")
    node.wait_subscribers("x", 1)
    still_good(node, here, got)


def test_a_plain_node_gets_nothing_in_or_out(join: Joiner, keyrings: Keyrings) -> None:
    """Without a key nothing crosses, both ends say why, and good peers notice nothing."""
    node, here, _, there = pair(join, keyrings)
    got = collect(there, "x")
    mine = collect(here, "x")
    node.wait_subscribers("x", 1)
    plain, where = join(peers=node.endpoints, local=False, join_timeout=0.1)
    leaked = collect(where, "x")
    eventually(lambda: "no key" in reasons(node) and "encrypted there" in reasons(plain))
    where.get("x").send("forged")
    still_good(node, here, got)
    assert plain.peers == ()
    assert leaked == ["forged"]
    assert "forged" not in mine
    assert len(node.peers) == 1


def test_plain_sockets_at_both_endpoints_get_nothing(join: Joiner, keyrings: Keyrings) -> None:
    """A plain DEALER and a plain SUB, of whatever they say and subscribe to, hear nothing."""
    node, here, _, there = pair(join, keyrings)
    got = collect(there, "x")
    node.wait_subscribers("x", 1)
    engine = node._engine
    assert engine is not None
    address, context = engine.session.addresses[0], zmq.Context()
    sockets: list[zmq.Socket[bytes]] = []

    def seen() -> bool:
        # Each end may be the first to see that they differ, and then closes.
        for kind, endpoint in ((zmq.SUB, address.data), (zmq.DEALER, address.control)):
            socket = context.socket(kind)
            sockets.append(socket)
            if kind == zmq.SUB:
                socket.setsockopt(zmq.SUBSCRIBE, b"")
            socket.connect(endpoint)
            if kind == zmq.DEALER:
                socket.send(b"\x02")
        here.get("x").send("secret")
        rejected = node.stats().rejected
        return ("data", "no key") in rejected and ("control", "no key") in rejected

    try:
        eventually(seen)
        node.flush()
        still_good(node, here, got)
        assert not any(socket.poll(0) for socket in sockets)
    finally:
        context.destroy(linger=0)


def test_an_encrypted_node_says_nothing_to_a_plain_one(join: Joiner, keyrings: Keyrings) -> None:
    """Who has keys dials a node without: nothing crosses, and the dialling one says why."""
    plain, where = join(listen=HERE, local=False)
    leaked = collect(where, "x")
    keyrings.authorize("south", "north")
    node, here = join(keys=keyrings("south"), peers=plain.endpoints, local=False, join_timeout=0.1)
    # Each attempt may end before its greeting was read, and then looks like a wrong key.
    eventually(lambda: "not encrypted there" in reasons(node), 3 * PATIENCE)
    here.get("x").send("secret")
    assert node.peers == plain.peers == ()
    assert leaked == []


def test_an_unknown_key_gets_nothing_in_or_out(join: Joiner, keyrings: Keyrings) -> None:
    """A key that is not authorized is refused, both ends say why, good peers notice nothing."""
    node, here, _, there = pair(join, keyrings)
    got, mine = collect(there, "x"), collect(here, "x")
    node.wait_subscribers("x", 1)
    keyrings.authorize("thief", "north")
    thief, where = join(keys=keyrings("thief"), peers=node.endpoints, local=False, join_timeout=0.1)
    leaked = collect(where, "x")
    eventually(lambda: "key unknown" in reasons(node) and "key unknown there" in reasons(thief))
    where.get("x").send("forged")
    still_good(node, here, got)
    assert thief.peers == ()
    assert leaked == ["forged"]
    assert "forged" not in mine


def test_a_handshake_that_is_broken_off_once_is_no_wrong_key(keyrings: Keyrings) -> None:
    """Who left in the middle of it had the right one: the link stays for whoever comes next."""
    keyrings.friends("north", "south", "west")
    guard, said = CurveGuard(keyrings("north")), list[str]()
    guard.listener = listener = Mock()
    listener.turned_away = lambda source, reason, detail: said.append(reason)
    listener.try_again = lambda endpoint: said.append("another")
    listener.hang_up = lambda endpoint: said.append("dismissed")
    there, key = tcp(1), keyrings.public("south")
    assert guard._choose(there, key) == key
    guard._told(there, BROKEN_OFF, 0)
    assert said == []
    guard._told(there, BROKEN_OFF, 0)
    assert said == ["wrong key", "dismissed"]
    said.clear()
    assert {guard._choose(tcp(2), b"") for _ in range(3)} >= {key, keyrings.public("west")}
    guard._told(tcp(2), BROKEN_OFF, 0)
    assert said == ["dismissed"]


def test_a_wrong_server_key_gets_nothing_in_or_out(join: Joiner, keyrings: Keyrings) -> None:
    """Who finds another key than the one expected behind an endpoint says nothing to it."""
    node, here, _, there = pair(join, keyrings)
    got = collect(there, "x")
    node.wait_subscribers("x", 1)
    keyrings.authorize("north", "deceived")
    keyrings.authorize("deceived", "elsewhere")
    deceived, where = join(
        keys=keyrings("deceived"), peers=node.endpoints, local=False, join_timeout=0.1
    )
    leaked = collect(where, "x")
    eventually(lambda: "wrong key" in reasons(deceived) and "not our key" in reasons(node))
    still_good(node, here, got)
    assert deceived.peers == ()
    assert leaked == []


def test_gossip_opens_nothing(join: Joiner, keyrings: Keyrings) -> None:
    """Nodes that a common peer speaks of meet if each knows the other's key, and else do not."""
    keyrings.friends("seed", "one", "two")
    keyrings.friends("seed", "three")
    seed, _ = join(keys=keyrings("seed"), listen=HERE, local=False)
    nodes = {
        name: join(keys=keyrings(name), peers=seed.endpoints, local=False)
        for name in ("one", "two", "three")
    }
    for name in ("one", "two"):
        nodes[name][0].wait_peers(2)
    seed.wait_peers(3)
    three, where = nodes["three"]
    leaked = collect(where, "x")
    seed.wait_subscribers("x", 1)
    nodes["one"][1].get("x").send("not for three")
    nodes["one"][0].flush()
    assert [peer.id for peer in three.peers] == [seed.id]
    assert leaked == []


def test_a_key_that_is_removed_is_cut_off(join: Joiner, keyrings: Keyrings) -> None:
    """Living connections of a key that is revoked end, and nothing crosses from then on."""
    node, here, other, there = pair(join, keyrings)
    events: list[object] = []
    node.events.handler(events.append)
    got, back = collect(there, "x"), collect(here, "y")
    node.wait_subscribers("x", 1)
    other.wait_subscribers("y", 1)
    keyrings.revoke("north", "south")
    eventually(lambda: any(isinstance(e, PeerLeft) and e.reason == "revoked" for e in events))
    assert not node.peers
    eventually(lambda: "key unknown there" in reasons(other))
    here.get("x").send("after")
    there.get("y").send("after")
    assert got == back == []


def test_a_raw_connection_of_a_revoked_key_is_cut(join: Joiner, keyrings: Keyrings) -> None:
    """Even who keeps to no protocol loses its connections, control and data, with its key."""
    keyrings.friends("north", "south")
    node, here = join(keys=keyrings("north"), listen=HERE, local=False)
    with raw(node, keyrings("south")) as thief:
        control, data = thief.control(), thief.data()
        say(control, thief.hello("x"))
        assert isinstance(hear(control), Welcome)
        data.send(b"\x01" + topic("x"))
        data.send(b"\x01" + ready_topic(thief.id, 1))
        node.wait_subscribers("x", 1)
        here.get("x").send("before")
        eventually(lambda: any(b"before" in frame for frame in everything(data)))
        ends = [s.get_monitor_socket(zmq.EVENT_DISCONNECTED) for s in (control, data)]
        keyrings.revoke("north", "south")
        for end in ends:
            assert end.poll(30_000)
        everything(data)
        say(control, Ping(thief.id, 1, 0))
        here.get("x").send("after")
        assert not node.peers
        assert not [frame for frame in everything(data) if b"after" in frame]


def test_a_key_that_is_added_is_admitted(join: Joiner, keyrings: Keyrings) -> None:
    """Who was refused comes in once its key is there, and again after a revocation."""
    keyrings.authorize("south", "north")
    node, here = join(keys=keyrings("north"), listen=HERE, local=False)
    other, there = join(keys=keyrings("south"), peers=node.endpoints, local=False, join_timeout=0.1)
    got = collect(there, "x")
    eventually(lambda: "key unknown there" in reasons(other))
    for _ in range(2):
        keyrings.authorize("north", "south")
        node.wait_subscribers("x", 1, timeout=30)
        other.wait_peers(1, timeout=30)
        still_good(node, here, got)
        keyrings.revoke("north", "south")
        eventually(lambda: not node.peers)


def test_who_knew_nobody_finds_a_static_peer_once_its_key_is_there(
    join: Joiner, keyrings: Keyrings
) -> None:
    """The dialling side may lack the key at first, too."""
    keyrings.authorize("north", "south")
    node, here = join(keys=keyrings("north"), listen=HERE, local=False)
    _, there = join(keys=keyrings("south"), peers=node.endpoints, local=False, join_timeout=0.1)
    got = collect(there, "x")
    keyrings.authorize("south", "north")
    node.wait_subscribers("x", 1, timeout=30)
    still_good(node, here, got)


def test_other_peers_notice_nothing_of_a_revocation(join: Joiner, keyrings: Keyrings) -> None:
    """While one key is revoked and admitted again, another peer loses nothing."""
    node, here, other, there = pair(join, keyrings)
    keyrings.friends("north", "west")
    west, _ = join(keys=keyrings("west"), peers=node.endpoints, local=False)
    got, lost = collect(there, "x"), list[object]()
    other.events.handler(lost.append)
    node.wait_subscribers("x", 1)
    west.wait_peers(1)
    keyrings.revoke("north", "west")
    sent = 0

    def more() -> int:
        nonlocal sent
        here.get("x").send(sent)
        sent += 1
        return len(node.peers)

    eventually(lambda: more() == 1)
    keyrings.authorize("north", "west")
    eventually(lambda: more() == 2)
    node.flush()
    assert got == list(range(sent))
    assert not [event for event in lost if isinstance(event, Lost)]


def test_every_address_may_be_listened_on_with_keys(join: Joiner, keyrings: Keyrings) -> None:
    """With keys, an endpoint that others can reach needs no consent, and is found by name."""
    keyrings.friends("north", "south")
    node, here = join(keys=keyrings("north"), listen="tcp://0.0.0.0:0", local=False)
    port = node.endpoints[0].rpartition(":")[2]
    _, there = join(
        keys=keyrings("south"),
        listen="tcp://0.0.0.0:0",
        peers=[f"tcp://localhost:{port}"],
        local=False,
    )
    got = collect(there, "x")
    node.wait_subscribers("x", 1)
    still_good(node, here, got)


def test_the_same_user_on_this_host_needs_no_key(join: Joiner, keyrings: Keyrings) -> None:
    """Beside TCP with keys, nodes of this user meet over plain Unix sockets, keys or not."""
    node, here = join(keys=keyrings("north"), listen=HERE)
    keyed, there = join(keys=keyrings("south"))
    plain, where = join()
    got, more = collect(there, "x"), collect(where, "x")
    node.wait_subscribers("x", 2)
    plain.wait_peers(2)
    keyed.wait_peers(2)
    here.get("x").send(1)
    node.flush()
    assert got == more == [1]


def test_nodes_with_one_key_are_peers(join: Joiner, keyrings: Keyrings) -> None:
    """Several processes may share a key directory: their own key is authorized."""
    node, here = join(keys=keyrings("north"), listen=HERE, local=False)
    _, there = join(keys=keyrings("north"), peers=node.endpoints, local=False)
    got = collect(there, "x")
    node.wait_subscribers("x", 1)
    still_good(node, here, got)


def test_an_id_of_another_key_is_refused(join: Joiner, keyrings: Keyrings) -> None:
    """An authorized key that says to be another's node is refused, known peer or not yet."""
    node, here, other, there = pair(join, keyrings)
    got = collect(there, "x")
    node.wait_subscribers("x", 1)
    keyrings.authorize("north", "thief")
    keyrings.authorize("thief", "north")
    with raw(node, keyrings("thief")) as thief:
        control = thief.control()
        say(control, thief.hello())
        assert isinstance(hear(control), Welcome)
        for victim in (bytes.fromhex(other.id), bytes(16)):
            say(control, thief.hello(me=victim, epoch=99))
            refused = hear(control)
            assert isinstance(refused, Refuse)
            assert refused.reason == "identity"
        say(control, Ack(bytes.fromhex(other.id), {"x": 10**9}))
        say(control, Named(bytes.fromhex(other.id), 0, ("x",)))
        eventually(lambda: node.stats().rejected.get(("thief", "identity"), 0) >= 4)
        still_good(node, here, got)
    assert other.id in {peer.id for peer in node.peers}
    assert len(node.peers) <= 2


def test_a_token_of_another_node_is_not_answered(join: Joiner, keyrings: Keyrings) -> None:
    """Heads that are published for one peer cannot be subscribed to by another one."""
    node, here, other, there = pair(join, keyrings)
    keyrings.authorize("north", "thief")
    keyrings.authorize("thief", "north")
    with raw(node, keyrings("thief")) as thief:
        data = thief.data()
        for theirs in (b"\xff", ready_topic(bytes.fromhex(other.id), 2)):
            data.send(b"\x01" + theirs)
        for epoch in range(1, 6):
            data.send(b"\x01\xff" + bytes.fromhex(other.id) + epoch.to_bytes(8, "big"))
        data.send(b"\x01" + topic("probe"))
        eventually(lambda: _publishes(node, "probe", data))
        got = collect(there, "x")
        node.wait_subscribers("x", 1)
        still_good(node, here, got)
        assert not [frame for frame in everything(data) if frame[:1] == b"\xff"]


def _publishes(node: Node, name: str, data: "zmq.Socket[bytes]") -> bool:
    """Publish behind everybody's back; tell whether it has arrived."""
    engine = node._engine
    assert engine is not None
    with engine.outbound._lock:
        engine.outbound._socket.send(topic(name))
    return topic(name) in everything(data)


def test_addresses_from_afar_are_no_unix_sockets(join: Joiner, keyrings: Keyrings) -> None:
    """A peer over TCP cannot have a node dial whatever there is on its own host."""
    node, _, _, _ = pair(join, keyrings)
    keyrings.authorize("north", "thief")
    keyrings.authorize("thief", "north")
    victim, _ = join("other")
    path = victim.endpoints[0]
    assert path.startswith("ipc:")
    with raw(node, keyrings("thief")) as thief:
        control = thief.control()
        for pair_ in ((path, path), ("tcp://127.0.0.1:1", path), (path, "tcp://127.0.0.1:1")):
            say(control, replace(thief.hello(), addresses=(Address(*pair_),)))
            answer = hear(control)
            assert isinstance(answer, Refuse)
            assert answer.reason == "unreachable"


# --------------------------------------------------------------------------- the directory


def test_a_directory_without_a_key_says_how_to_make_one(rendezvous: Path, tmp_path: Path) -> None:
    """The error names the file and the command."""
    with pytest.raises(InvalidKeys, match=r"node\.key: make it with zexchange keygen"):
        federate("fed", keys=tmp_path)


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("node.key", "nonsense", "node.key"),
        ("authorized/south.pub", "nonsense", "south.pub"),
        ("authorized/south.pub", "", "south.pub"),
        ("permissions.toml", "[south", "permissions.toml"),
        ("permissions.toml", "[south]\npubish = []", "pubish"),
        ("authorized/default.pub", None, "default"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_at_the_start(
    rendezvous: Path, keyrings: Keyrings, file: str, text: str | None, says: str
) -> None:
    """A bad file is a clear error, and no node."""
    keyrings.friends("north", "south")
    (keyrings("north") / file).write_text(keyrings.line("west") if text is None else text)
    with pytest.raises(InvalidKeys, match=says):
        federate("fed", keys=keyrings("north"))


def test_a_secret_that_others_can_read_is_refused(rendezvous: Path, keyrings: Keyrings) -> None:
    """The secret key is this user's alone, or the node does not start."""
    os.chmod(keyrings("north") / "node.key", 0o640)
    with pytest.raises(InvalidKeys, match="chmod 600"):
        federate("fed", keys=keyrings("north"))


def test_a_pipe_in_place_of_a_file_holds_nobody(rendezvous: Path, keyrings: Keyrings) -> None:
    """What is no file is refused, and not waited for."""
    os.mkfifo(keyrings("north") / "authorized" / "south.pub")
    with pytest.raises(InvalidKeys, match="not a file"):
        federate("fed", keys=keyrings("north"))


def test_a_file_that_goes_bad_while_running_changes_nothing(
    join: Joiner, keyrings: Keyrings, caplog: pytest.LogCaptureFixture
) -> None:
    """What was good stays in force, one warning says so, and what is mended counts again."""
    node, here, _, there = pair(join, keyrings)
    got = collect(there, "x")
    node.wait_subscribers("x", 1)
    caplog.set_level(logging.WARNING, "zexchange")

    def warnings() -> list[str]:
        return [r.message for r in caplog.records if "stays in force" in r.message]

    keyrings.permit("north", "[south")
    eventually(warnings)
    assert "permissions.toml" in warnings()[0]
    (keyrings("north") / "authorized" / "west.pub").write_text("nonsense")
    (keyrings("north") / "authorized" / "again.pub").write_text(keyrings.line("south"))
    still_good(node, here, got)
    keyrings.revoke("north", "south")
    keyrings.revoke("north", "again")
    eventually(lambda: not node.peers)
    assert len(warnings()) == 1


def test_permissions_that_are_gone_stay_in_force(
    join: Joiner, keyrings: Keyrings, caplog: pytest.LogCaptureFixture
) -> None:
    """Who edits the file may move it away for a moment: that permits nobody anything."""
    keyrings.permit("north", '[south]\nsubscribe = ["x"]')
    node, here, _, there = pair(join, keyrings)
    got, leaked = collect(there, "x"), collect(there, "secret")
    node.wait_subscribers("x", 1)
    caplog.set_level(logging.WARNING, "zexchange")
    (keyrings("north") / "permissions.toml").unlink()
    eventually(lambda: [r for r in caplog.records if "is gone" in r.message])
    here.get("secret").send(1)
    still_good(node, here, got)
    assert leaked == []
    keyrings.permit("north", "")
    node.wait_subscribers("secret", 1, timeout=30)


def test_a_peer_may_have_two_keys_for_a_while(join: Joiner, keyrings: Keyrings) -> None:
    """Both keys in a file are the same peer: so a key is changed without a pause."""
    keyrings.friends("north", "south")
    keyrings.authorize("new", "north")
    both = keyrings.line("south") + keyrings.line("new")
    (keyrings("north") / "authorized" / "south.pub").write_text(both)
    node, _ = join(keys=keyrings("north"), listen=HERE, local=False)
    for name in ("south", "new"):
        _, there = join(keys=keyrings(name), peers=node.endpoints, local=False)
        collect(there, "x")
    node.wait_subscribers("x", 2)


def test_the_secret_key_is_for_this_user_and_never_overwritten(keyrings: Keyrings) -> None:
    """`make_keys` writes a file that nobody else can read, once; the public line is beside it."""
    directory = keyrings("north")
    before = (directory / "node.key").read_bytes()
    assert (directory / "node.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(InvalidKeys, match="never overwritten"):
        make_keys(directory)
    assert (directory / "node.key").read_bytes() == before
    assert sorted(path.name for path in directory.iterdir()) == [
        "authorized",
        "node.key",
        "node.pub",
    ]

"""Nodes that meet over TCP: listening, dialling, gossip, cuts and reconnects."""

import socket
import sys
from collections.abc import Iterator
from operator import gt
from pathlib import Path

import pytest

import zexchange
from tests.net.conftest import Joiner, collect
from tests.relay import Relay
from tests.support import eventually, free_ports, patience, tcp
from zexchange import InsecureEndpoint, Lost, PeerLeft, Unreachable, federate

pytestmark = pytest.mark.sockets


def behind(
    join: Joiner, relays: tuple[Relay, Relay], **arguments: object
) -> tuple[zexchange.Node, zexchange.Registry]:
    """Join with a node that others reach through relays alone."""
    return join(
        **arguments,
        listen=[tcp(relay._target) for relay in relays],
        advertise=[tcp(relay.port) for relay in relays],
        local=False,
    )


def cut_once(relays: tuple[Relay, Relay]) -> None:
    """Reset all connections, and wait until each relay has new ones."""
    before = [relay.accepted for relay in relays]
    for relay in relays:
        relay.cut()
    eventually(lambda: all(map(gt, [relay.accepted for relay in relays], before)))


def test_a_peer_by_its_address(join: Joiner) -> None:
    """`listen=` on one side and `peers=` on the other make one channel, both ways."""
    node, here = join(listen="tcp://127.0.0.1:0", local=False)
    got = collect(here, "x")
    other, there = join(peers=list(node.endpoints), local=False)
    back = collect(there, "x")
    node.wait_subscribers("x", 1)
    there.get("x").send("to")
    here.get("x").send("fro")
    node.flush()
    other.flush()
    assert sorted(got) == sorted(back) == ["fro", "to"]


def test_gossip_introduces_peers(join: Joiner) -> None:
    """Nodes that know only a common peer find each other through it."""
    seed, _ = join(listen="tcp://127.0.0.1:0", local=False)
    nodes = [join(peers=seed.endpoints, local=False)[0] for _ in range(4)]
    for node in nodes:
        node.wait_peers(4)
        assert seed.id in {peer.id for peer in node.peers}


def test_two_names_of_one_endpoint_are_one_peer(join: Joiner) -> None:
    """``localhost`` and ``127.0.0.1`` lead to one node, from which everything comes once."""
    node, here = join(listen="tcp://127.0.0.1:0", local=False)
    (endpoint,) = node.endpoints
    other, there = join(peers=[endpoint, endpoint.replace("127.0.0.1", "localhost")], local=False)
    got = collect(there, "x")
    node.wait_subscribers("x", 1)
    here.get("x").send(1)
    node.flush()
    assert got == [1]
    assert len(other.peers) == len(node.peers) == 1


def test_tcp_and_the_same_host_meet_once(join: Joiner) -> None:
    """A peer found in the rendezvous directory and by its address is one peer."""
    node, here = join(listen="tcp://127.0.0.1:0")
    other, there = join(peers=[node.endpoints[1]])
    got = collect(there, "x")
    node.wait_subscribers("x", 1)
    here.get("x").send(1)
    node.flush()
    assert got == [1]
    assert len(other.peers) == 1


def test_a_node_for_other_hosts_alone_meets_nobody_here(join: Joiner, rendezvous: Path) -> None:
    """With ``local=False`` it is not in the directory, and does not look into it."""
    node, _ = join(listen="tcp://127.0.0.1:0", local=False)
    assert not list(rendezvous.rglob("*"))
    other, _ = join()
    third, _ = join(listen="tcp://127.0.0.1:0", local=False)
    assert (node.peers, other.peers, third.peers) == ((), (), ())


def test_an_endpoint_of_our_own_is_no_peer(join: Joiner) -> None:
    """A node that is given its own address notices, and is not its own peer."""
    port, data = free_ports()
    pair = [tcp(port), tcp(data)]
    node, here = join(listen=pair, peers=[f"tcp://localhost:{port}"], local=False)
    got = collect(here, "x")
    here.get("x").send(1)
    assert node.peers == ()
    assert got == [1]


def test_a_peer_that_comes_later_is_found(join: Joiner) -> None:
    """A static peer is dialled until it is there, and delays nobody meanwhile."""
    port, data = free_ports()
    _, here = join(peers=[tcp(port)], local=False)
    got = collect(here, "x")
    late, there = join(listen=[tcp(port), tcp(data)], local=False)
    late.wait_subscribers("x", 1)
    there.get("x").send("late")
    late.flush()
    assert got == ["late"]


def test_listening_where_others_could_reach_needs_consent(rendezvous: object) -> None:
    """A non-loopback endpoint without keys is refused unless that is written out."""
    for arguments in (
        {"listen": "tcp://0.0.0.0:7400"},
        {"listen": "tcp://*:7400"},
        {"listen": "tcp://192.0.2.1:7400"},
        {"listen": "tcp://[::]:7400"},
        {"peers": ["tcp://example.org:7400"]},
    ):
        with pytest.raises(InsecureEndpoint, match="insecure=True"):
            federate("fed", **arguments)  # type: ignore[arg-type]


def test_a_wildcard_address_is_filled_in_by_who_hears_it(join: Joiner) -> None:
    """A node that listens everywhere is reached by the address that it was heard from."""
    port, data = free_ports()
    listen = [f"tcp://0.0.0.0:{port}", f"tcp://0.0.0.0:{data}"]
    node, here = join(listen=listen, local=False, insecure=True)
    other, there = join(peers=[tcp(port)], local=False)
    third, _ = join(peers=other.endpoints, local=False)
    third.wait_peers(2)
    got = collect(there, "x")
    node.wait_subscribers("x", 1)
    here.get("x").send(1)
    node.flush()
    assert got == [1]


def test_the_local_network_needs_a_way_to_us(rendezvous: object) -> None:
    """``peers=["lan"]`` is refused where nobody could dial us, or without consent."""
    for listen in (None, "tcp://127.0.0.1:0"):
        with pytest.raises(ValueError, match="listen="):
            federate("fed", peers=["lan"], listen=listen, insecure=True)
    with pytest.raises(InsecureEndpoint, match="insecure=True"):
        federate("fed", peers=["lan"], listen="tcp://0.0.0.0:0")


def test_the_local_network_needs_its_library(
    rendezvous: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra the error says what to install, and nothing of the node stays."""
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    with pytest.raises(Unreachable, match=r"zexchange\[discovery\]"):
        federate("fed", peers=["lan"], listen="tcp://0.0.0.0:0", insecure=True)


def test_malformed_endpoints_are_refused(rendezvous: object) -> None:
    """The error shows how an endpoint is written."""
    for bad in ("7400", "tcp://127.0.0.1", "tcp://:7400", "ipc:///tmp/x", "tcp://h:99999"):
        with pytest.raises(ValueError, match="tcp://HOST:PORT"):
            federate("fed", listen=bad)


def test_the_port_after_the_one_that_is_given_is_for_data(join: Joiner) -> None:
    """Two programs on one host cannot have them in common, in either way."""
    control, data = free_ports()
    join(listen=tcp(control), local=False)
    for number in (control, data):
        socket.create_connection(("127.0.0.1", number)).close()
    with pytest.raises(Unreachable, match=tcp(data)):
        join("other", listen=tcp(data), local=False)


def test_a_port_in_use_is_a_clear_error(join: Joiner) -> None:
    """A taken port is named, and nothing of the failed node stays."""
    node, _ = join(listen="tcp://127.0.0.1:0")
    taken = node.endpoints[1]
    with pytest.raises(Unreachable, match=taken):
        join("other", listen=[taken, "tcp://127.0.0.1:0"])
    join("other")


def test_other_hosts_need_a_way_back(rendezvous: object) -> None:
    """Peers on other hosts connect back: without `listen=` that is refused."""
    with pytest.raises(ValueError, match="listen="):
        federate("fed", peers=["tcp://192.0.2.1:7400"], insecure=True)


@pytest.mark.parametrize("count", [1, 3000])
def test_a_cut_connection_heals(relays: tuple[Relay, Relay], join: Joiner, count: int) -> None:
    """After a reconnect every exchange receives again, and what was lost is counted."""
    node, here = behind(join, relays)
    other, there = join(peers=[tcp(relays[0].port)], local=False, recovery_timeout=patience())
    got = {f"x{n}": collect(there, f"x{n}") for n in range(count)}
    node.wait_subscribers(f"x{count - 1}", 1, patience())
    for name in got:
        here.get(name).send("before")
    node.flush(patience())
    cut_once(relays)
    node.wait_peers(1, patience())
    other.wait_ready(patience())
    for name in got:
        here.get(name).send("after")
    node.flush(patience())
    wrong = {name: messages for name, messages in got.items() if messages != ["before", "after"]}
    assert not wrong, other.stats().received


def test_numbers_lost_in_a_cut_are_counted(relays: tuple[Relay, Relay], join: Joiner) -> None:
    """Received and lost add up to sent when the data connection is cut under load."""
    node, here = behind(join, relays)
    other, there = join(peers=[tcp(relays[0].port)], local=False)
    got = collect(there, "x")
    node.wait_subscribers("x", 1)
    for n in range(30_000):
        here.get("x").send((n, "x" * 100))
        if n == 15_000:
            relays[1].cut()
    node.wait_subscribers("x", 1)
    node.flush()
    received = other.stats().received["x", node.id]
    assert received.received == len(got)
    assert received.received + received.lost == node.stats().sent["x"] == 30_000
    assert [n for n, _ in got] == sorted({n for n, _ in got})


@pytest.fixture
def more_relays() -> Iterator[tuple[Relay, Relay]]:
    """Two more."""
    pair = Relay(free_ports()[0]), Relay(free_ports()[0])
    yield pair
    for relay in pair:
        relay.close()


def test_a_peer_that_was_taken_for_gone_goes_on(
    relays: tuple[Relay, Relay], more_relays: tuple[Relay, Relay], join: Joiner
) -> None:
    """Port forwards end and start again: what was sent meanwhile comes, and the sums are right."""
    sender, there = behind(join, relays)
    receiver, here = behind(join, more_relays, peers=[tcp(relays[0].port)])
    got = collect(here, "x")
    sender.wait_subscribers("x", 1)
    there.get("x").send(0)
    sender.flush()
    with sender.events.record() as left, receiver.events.record() as told:
        for relay in (*relays, *more_relays):
            relay.listen(False)
        there.get("x").send(1)  # to a peer that is still one
        eventually(lambda: any(isinstance(e, PeerLeft) for e in left))
        eventually(lambda: any(isinstance(e, PeerLeft) for e in told))
        sent = sender.stats().sent_to["x", receiver.id]
        assert (sent.sent, sent.unacknowledged) == (2, 1)
        there.get("x").send(2)  # to nobody, as far as the sender knows
        for relay in (*relays, *more_relays):
            relay.listen(True)
        sender.wait_subscribers("x", 1)
        there.get("x").send(3)
        sender.flush()
    assert got == [0, 1, 2, 3]
    assert [e.reason for e in (*left, *told) if isinstance(e, PeerLeft)] == ["gone", "gone"]
    assert not any(isinstance(e, Lost) for e in told)
    sent = sender.stats().sent_to["x", receiver.id]
    came = receiver.stats().received["x", sender.id]
    assert (sent.sent, sent.unacknowledged, came.received, came.lost) == (4, 0, 4, 0)


def test_a_wrong_protocol_at_a_peers_address_is_survived(join: Joiner) -> None:
    """Something else behind a static address: joining goes on, and the right one is found later."""
    port, data = free_ports()
    with socket.create_server(("127.0.0.1", port)) as impostor:
        node, here = join(peers=[tcp(port)], local=False, join_timeout=0.3)
        got = collect(here, "x")
        client, _ = impostor.accept()
        client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100)
        client.close()
    late, there = join(listen=[tcp(port), tcp(data)], local=False)
    late.wait_subscribers("x", 1)
    there.get("x").send(1)
    late.flush()
    assert got == [1]
    node.wait_peers(1)


def test_a_federation_of_another_name_is_refused_with_a_reason(join: Joiner) -> None:
    """Both sides can see that the federations differ."""
    node, _ = join("one", listen="tcp://127.0.0.1:0", local=False)
    other, _ = join("two", peers=node.endpoints, local=False)
    eventually(lambda: other.stats().rejected and node.stats().rejected)
    assert any(reason == "refused: federation" for _, reason in other.stats().rejected)
    assert any(reason == "federation" for _, reason in node.stats().rejected)
    assert node.peers == other.peers == ()

"""Bytes from strangers at every bound endpoint: counted, reported, and nobody good suffers."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress

import msgpack
import pytest
import zmq

from tests.net.conftest import Joiner, collect, publish
from tests.support import eventually, patience
from zexchange import Node, Registry, Rejected
from zexchange.protocol.wire.data import MAX_CONTROL_BYTES, ready_topic

pytestmark = pytest.mark.sockets


def pair(join: Joiner) -> tuple[Node, Registry, Node, list[object]]:
    """Return a victim that listens on TCP, and a good peer of it that receives ``x``."""
    node, here = join(listen="tcp://127.0.0.1:0")
    other, there = join()
    got = collect(there, "x")
    node.wait_subscribers("x", 1)
    return node, here, other, got


def still_good(node: Node, here: Registry, got: list[object]) -> None:
    """The good peer gets everything that is sent now."""
    got.clear()
    for n in range(1000):
        here.get("x").send(n)
    node.flush()
    assert got == list(range(1000))


def control_of(node: Node) -> str:
    return next(e for e in node.endpoints if e.startswith("tcp"))


def data_of(node: Node) -> str:
    engine = node._engine
    assert engine is not None
    return next(a.data for a in engine.session.addresses if a.data.startswith("tcp"))


def test_garbage_at_the_control_endpoint_is_counted(join: Joiner) -> None:
    """Garbage, wrong kinds and wrong shapes are rejected, counted, and told once as an event."""
    node, here, _, got = pair(join)
    events: list[object] = []
    node.events.handler(events.append)
    frames = [b"", b"\x00", b"\x02", b"\x02\xc1", os.urandom(100), b"\x01x\0" + bytes(50)]
    frames += [b"\x02" + msgpack.packb(v) for v in (1, [], [1, 2, 3], ["hello", b"x", {}])]
    frames += [b"\x02" + msgpack.packb(["hello", b"i" * 16, {"versions": [9, 9]}])]
    frames += [b"\x02" + msgpack.packb(["nonsense", b"i" * 16, {}])]
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.connect(control_of(node))
        for frame in frames:
            stranger.send(frame)
        stranger.send_multipart([b"two", b"frames"])
        eventually(lambda: sum(node.stats().rejected.values()) >= len(frames))
        still_good(node, here, got)
    eventually(lambda: any(isinstance(event, Rejected) for event in events))


def test_a_stranger_is_told_to_say_hello(join: Joiner) -> None:
    """A well-formed message from an unknown node is answered, and has no effect."""
    node, here, _, got = pair(join)
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.connect(control_of(node))
        for kind, body in (
            ("ping", {"epoch": 1, "announced": 0}),
            ("interest", {"epoch": 2, "base": 0, "confirmed": 0, "added": ["**"]}),
            ("ack", {"positions": {"x": 10**9}}),
            ("bye", {}),
        ):
            stranger.send(b"\x02" + msgpack.packb([kind, b"i" * 16, body]))
            assert msgpack.unpackb(stranger.recv()[1:])[0] == "stranger"
        still_good(node, here, got)
    assert len(node.peers) == 1


def test_a_future_version_is_refused_with_a_reason(join: Joiner) -> None:
    """A hello of versions that are not spoken here gets the range that is."""
    node, here, _, got = pair(join)
    hello = {
        "versions": [7, 9],
        "federation": "fed",
        "label": ["host", 1, ""],
        "addresses": [["tcp://127.0.0.1:1", "tcp://127.0.0.1:2"]],
        "epoch": 1,
        "interest": [],
        "something new": True,
    }
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.connect(control_of(node))
        stranger.send(b"\x02" + msgpack.packb(["hello", b"i" * 16, hello]))
        kind, _, body = msgpack.unpackb(stranger.recv()[1:])
        assert (kind, body["reason"]) == ("refuse", "version")
        assert "protocol 1 to 1" in body["text"]
        still_good(node, here, got)


def test_garbage_subscriptions_at_the_data_endpoint(join: Joiner) -> None:
    """Subscriptions of any bytes, tokens of nobody, and messages are taken without harm."""
    node, here, _, got = pair(join)
    with zmq.Context() as context, context.socket(zmq.XSUB) as stranger:
        stranger.connect(data_of(node))
        for n in range(2000):
            stranger.send(b"\x01" + os.urandom(n % 300))
            stranger.send(b"\x01\xff" + os.urandom(24))
            stranger.send(os.urandom(1 + n % 50))
        still_good(node, here, got)


def test_oversize_messages_cut_only_their_sender(join: Joiner) -> None:
    """A frame over the limit ends the connection that it came on, and no other."""
    node, here, _, got = pair(join)
    with zmq.Context() as context:
        with context.socket(zmq.DEALER) as stranger:
            stranger.setsockopt(zmq.LINGER, 0)
            stranger.connect(control_of(node))
            stranger.send(bytes(MAX_CONTROL_BYTES + 1))
            still_good(node, here, got)
        with context.socket(zmq.XSUB) as stranger:
            stranger.setsockopt(zmq.LINGER, 0)
            stranger.connect(data_of(node))
            stranger.send(b"\x01" + bytes(100_000))
            still_good(node, here, got)


OLD = {
    # A connection without a version, whose peer has no id, and one of version 2: both are
    # taken by libzmq, and their frames do not say which connection they came by.
    "ZMTP 1": b"\x01\x00" + b"\x07\x00\x01\x01old\x00",
    "ZMTP 2": b"\xff" + bytes(7) + b"\x01\x7f\x01\x02\x00\x00" + b"\x00\x06\x01\x01old\x00",
}


@pytest.mark.parametrize("version", OLD)
def test_subscriptions_of_old_protocols_are_not_taken(join: Joiner, version: str) -> None:
    """Who speaks an older ZMTP is cut off: nobody could tell whose its subscriptions are."""
    node, here, _, got = pair(join)
    for endpoint in (control_of(node), data_of(node)):
        port = int(endpoint.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.settimeout(patience())
            client.sendall(OLD[version])
            with suppress(ConnectionResetError):
                while client.recv(1000):
                    pass
            still_good(node, here, got)


def test_a_subscription_of_no_connection_spoils_no_send(join: Joiner) -> None:
    """Where libzmq does not know by what connection a subscription came, messages still go out."""
    node, here, _, got = pair(join)
    engine = node._engine
    assert engine is not None
    engine.outbound.demand._take(zmq.Frame(b"\x01\x01x\x00"))
    engine.outbound.demand._take(zmq.Frame(b"\x01" + ready_topic(bytes(16), 1)))
    still_good(node, here, got)


@pytest.mark.parametrize("greeting", [b"GET / HTTP/1.1\r\n\r\n", b"", bytes(64), b"\xff" * 200])
def test_a_client_of_another_protocol_is_ignored(join: Joiner, greeting: bytes) -> None:
    """A TCP client that speaks something else, or nothing, disturbs nobody."""
    node, here, _, got = pair(join)
    for endpoint in (control_of(node), data_of(node)):
        port = int(endpoint.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(greeting)
            still_good(node, here, got)
    still_good(node, here, got)


def test_a_peer_that_publishes_garbage_is_counted_and_others_are_heard(join: Joiner) -> None:
    """Malformed, foreign and future data frames of a peer are rejected; good ones arrive."""
    node, here = join()
    other, there = join()
    got = collect(here, "x")
    other.wait_subscribers("x", 1)
    good = b"\x01x\0"

    def garbage(me: bytes) -> Iterator[list[bytes]]:
        for bad in (b"", b"\x27\x09" + bytes(37), bytes(39), b"\xff" + bytes(60)):
            yield [good + bad]
        ends = (1).to_bytes(8, "big") + (1).to_bytes(4, "big") + bytes(9)
        yield [good + b"\x27\x01" + b"f" * 16 + ends + b"\xc0"]  # another origin
        yield [good + b"\x27\x01" + me + ends + b"\xc1"]  # not MessagePack

    count = publish(other, garbage)
    eventually(lambda: sum(node.stats().rejected.values()) >= count)
    there.get("x").send("ignored: its number 1 was used up")
    there.get("x").send("fine")
    other.flush()
    assert got[-1] == "fine"
    assert {source for source, _ in node.stats().rejected} == {other.id}

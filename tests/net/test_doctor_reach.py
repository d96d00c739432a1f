"""Endpoints tried by hand: who is there, in a word, and nothing said that counts."""

import socket
import threading

import pytest

from tests.net.conftest import Joiner
from tests.support import eventually, free_ports, tcp
from zexchange.net.doctor.reach import reach, reach_all

pytestmark = pytest.mark.sockets


def serve(answer: bytes | None, wait_for: bytes = b"") -> tuple[int, socket.socket]:
    """Listen, and answer the first caller, perhaps once it has said something."""
    server = socket.create_server(("127.0.0.1", 0))

    def work() -> None:
        client, _ = server.accept()
        with client:
            heard = b""
            while wait_for not in heard:
                heard += client.recv(100)
            if answer is not None:
                client.sendall(answer)
            while client.recv(100):
                pass

    threading.Thread(target=work, daemon=True).start()
    return server.getsockname()[1], server


def test_a_node_is_told_from_its_data_port(join: Joiner) -> None:
    """A control socket is `ok`, over either transport; a data socket is its data port."""
    port, data = free_ports()
    node, _ = join(listen=[tcp(port), tcp(data)])
    ipc = node.endpoints[0]
    found = reach_all([ipc, tcp(port), tcp(data)])
    assert {endpoint: r.outcome for endpoint, r in found.items()} == {
        ipc: "ok",
        tcp(port): "ok",
        tcp(data): "data port",
    }
    assert node.stats().rejected == {}
    assert node.peers == ()


def test_nobody_and_nothing() -> None:
    """Nothing listening, a path that is none, a name that is none."""
    port, _ = free_ports()
    assert reach(tcp(port)).outcome == "refused"
    assert reach("ipc:///tmp/zexchange-none.c").outcome == "removed"
    assert reach(f"tcp://{'x' * 70}.example:1").outcome == "unresolved"
    for malformed in ("tcp://no-port", "tcp://*:1", "ipc:///tmp/\ud800"):
        assert reach(malformed).outcome == "unresolved"


@pytest.mark.parametrize(
    ("answer", "wait_for", "outcome"),
    [
        (b"SSH-2.0-x\r\n", b"", "not ours"),
        (b"HTTP/1.1 400 Bad\r\n", b"\r\n", "not ours"),
        (None, b"", "mute"),
        (b"\xff" + bytes(8) + b"\x7f\3\1" + b"CURVE".ljust(20, b"\0") + bytes(32), b"", "keys"),
    ],
)
def test_something_else(answer: bytes | None, wait_for: bytes, outcome: str) -> None:
    """What is not ours, says nothing, or wants keys is told apart."""
    port, server = serve(answer, wait_for)
    with server:
        assert reach(tcp(port), 0.3).outcome == outcome


def test_pongs_tell_the_time_and_who_is_held_up(join: Joiner) -> None:
    """A peer's clock is known after a ping, and a task that holds it shows on this side."""
    held = threading.Event()
    node, here = join()
    _, there = join()
    there.get("x").handler(lambda msg: held.wait(30))
    node.wait_subscribers("x", 1)
    here.get("x").send(1)
    try:
        (found,) = eventually(
            lambda: [p for p in node.diagnose("x").picture.peers if p.held >= 1.0]
        )
    finally:
        held.set()
    assert found.clock == pytest.approx(0, abs=1.0)
    assert found.room is None or found.room > 0

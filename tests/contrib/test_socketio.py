"""Socket.IO over several worker processes: events, rooms, answers, and workers that are killed."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.contrib.servers import Client, spread, uvicorn
from tests.support import PATIENCE, ROOT, Program, eventually
from zexchange import Node, Registry, Unreachable, federate

pytest.importorskip("socketio", reason="needs the extra socketio")
pytest.importorskip("uvicorn", reason="needs uvicorn")
pytest.importorskip("websockets", reason="needs websockets")

APP = """
import socketio
from zexchange.contrib.socketio import AsyncExchangeManager

manager = AsyncExchangeManager("chat")
sio = socketio.AsyncServer(async_mode="asgi", client_manager=manager)
app = socketio.ASGIApp(sio, on_shutdown=manager.close)

@sio.event
async def say(sid, text):
    await sio.emit("said", text)

@sio.event
async def invite(sid, other, room):
    await sio.enter_room(other, room)

@sio.event
async def expel(sid, other, room):
    await sio.leave_room(other, room)

@sio.event
async def rooms(sid):
    return list(sio.rooms(sid))

@sio.event
async def tell(sid, room, text):
    await sio.emit("told", text, room=room)

@sio.event
async def ask(sid, other):
    return await sio.call("question", to=other, timeout=20)

@sio.event
async def kick(sid, other):
    await sio.disconnect(other)
"""
OUTSIDE = """
from zexchange.contrib.socketio import ExchangeManager
manager = ExchangeManager("chat", write_only=True)
for n in range(100):
    manager.emit("said", f"outside {n}")
manager.close()
"""


@pytest.mark.sockets
def test_everything_crosses_between_workers(rendezvous: Path, tmp_path: Path) -> None:
    """Emits, rooms, answers and disconnects reach clients of other workers than the caller's."""
    with uvicorn(tmp_path, APP, 3) as port, spread(lambda: Client(port), 3) as clients:
        for client, name in zip(clients, "abc", strict=True):
            client.name = name
        a, b, c = clients
        for client in clients:
            client.emit("say", f"hello from {client.name}")
        for client in clients:
            for name in "abc":
                client.expect("said", f"hello from {name}")
        a.call("invite", b.sid, "attic")
        a.call("invite", c.sid, "attic")
        for client in (b, c):  # each enters at a worker of its own, which hears of it later
            eventually(lambda client=client: "attic" in client.call("rooms"))
        c.call("tell", "attic", "secret")
        b.expect("told", "secret")
        a.call("expel", c.sid, "attic")
        a.call("tell", "attic", "more")
        b.expect("told", "more")
        assert a.call("ask", b.sid) == "b"
        assert c.call("ask", b.sid) == "b"
        with Program(OUTSIDE) as outside:
            assert outside.end() == 0
        for client in clients:
            client.until(lambda client=client: ["said", "outside 99"] in client.events)
            outside_said = [e[1] for e in client.events if e[1:] and "outside" in str(e[1])]
            assert outside_said == [f"outside {n}" for n in range(100)]
        assert ["told", "secret"] in c.events
        assert ["told", "more"] not in c.events
        assert not [event for event in a.events if event[0] == "told"]
        a.emit("kick", b.sid)
        eventually(lambda: b.closed)
        assert not c.closed


def test_what_no_manager_has_sent_is_not_heard() -> None:
    """Any program may send on the managers' exchange: what is none of theirs ends no listener."""
    from zexchange.contrib.socketio import _Channel

    registry = Registry()
    channel = _Channel("socketio", registry)
    channel.open("me")
    exchange = registry.get("socketio")
    for msg in (1, None, "ab", (), ("a",), ("a", 1), ("a", "b", "c"), ["a", "b"], b"ab"):
        exchange.send(msg)
    exchange.send(("me", "mine"))
    exchange.send(("other", "{}"))
    assert channel.stream.get(5) == ("other", "{}")
    assert len(channel.stream) == 0
    channel.close()


def test_a_worker_that_falls_behind_has_others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mailbox is full: nothing is dropped, and what is sent there waits until it reads."""
    monkeypatch.setattr("zexchange.contrib.socketio.WAITING", 10)
    from zexchange.contrib.socketio import _Channel

    registry = Registry()
    channel = _Channel("socketio", registry)
    channel.open("me")
    messages = [("other", str(n)) for n in range(100)]
    emitting = threading.Thread(target=lambda: [*map(registry.get("socketio").send, messages)])
    emitting.start()
    eventually(lambda: len(channel.stream) == 10)
    assert emitting.is_alive()
    assert [channel.stream.get(timeout=PATIENCE) for _ in messages] == messages
    emitting.join()
    channel.close()


@pytest.mark.sockets
@pytest.mark.leaves_files
def test_killed_workers_cost_no_client_a_message(rendezvous: Path) -> None:
    """While workers are killed and started again, clients of living ones miss nothing."""
    words = "--workers 2 --clients 8 --broadcasts 700 --rate 200 --every 1 --rounds 1"
    command = [sys.executable, str(ROOT / "benchmarks" / "socketio_workers.py"), *words.split()]
    done = subprocess.run(
        [*command, "--only", "federation", "--json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    row = json.loads(done.stdout)["federation"]
    assert row["delivered"] == "100 %"
    assert int(row["workers killed"]) >= 1
    assert int(row["of"].replace(",", "")) > 1000


FORKED = """
import socketio
from zexchange.contrib.socketio import ExchangeManager
manager = ExchangeManager("chat")
server = socketio.Server(async_mode="threading", client_manager=manager)
tell = lambda *words: os.write(1, (" ".join(map(str, words)) + "\\n").encode())
heard = lambda message: tell(me, message["host_id"] == manager.host_id, message["data"][0])
manager._handle_emit = heard
for me in ("one", "two", "parent"):
    if me == "parent" or os.fork() == 0:
        break
if me != "parent":
    manager.initialize()
    manager._membership.join().wait_subscribers("socketio", 1, 20)
    server.emit("said", me)
sys.stdin.read()
if me != "parent":
    manager.close()
    os._exit(0)
"""


@pytest.mark.sockets
def test_processes_that_fork_from_one_application_hear_each_other(rendezvous: Path) -> None:
    """A manager made before a fork is another one in each child: none takes others for itself."""
    with Program(FORKED) as program:
        lines = {program.line() for _ in range(4)}
        assert lines == {"one True one", "two True two", "one False two", "two False one"}


@pytest.mark.sockets
def test_a_node_of_the_programs_own(rendezvous: Path) -> None:
    """With ``node=`` the manager talks on that node's registry, and leaves the node open."""
    from zexchange.contrib.socketio import ExchangeManager

    here, there = Registry(), Registry()
    with federate("chat", registry=here) as one, federate("chat", registry=there) as two:
        with there.get("emits").record() as heard:
            two.wait_ready()
            manager = ExchangeManager(channel="emits", node=one, write_only=True)
            manager.emit("said", b"bytes", room="attic")
            one.flush()
            manager.close()
        (host, text), message = heard[0], json.loads(heard[0][1])
        assert (host, message["method"], message["room"]) == (manager.host_id, "emit", "attic")
        assert text
        assert one.peers


@pytest.mark.sockets
def test_a_loop_that_emits_without_a_pause(rendezvous: Path) -> None:
    """What a server emits itself does not fill the mailbox that it reads."""
    import socketio

    from zexchange.contrib.socketio import AsyncExchangeManager

    async def main() -> None:
        manager = AsyncExchangeManager("chat")
        server = socketio.AsyncServer(async_mode="asgi", client_manager=manager)
        manager.initialize()
        for n in range(100):
            await server.emit("said", n)
        assert manager._channel.stream.stats().received == 0
        await manager.close()

    asyncio.run(main())


@pytest.mark.sockets
def test_a_first_client_after_emits(rendezvous: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that has emitted before it listened lets no client in before it is heard, too."""
    import socketio

    from zexchange.contrib.socketio import AsyncExchangeManager

    async def main(node: Node) -> None:
        manager = AsyncExchangeManager(node=node)
        server = socketio.AsyncServer(async_mode="asgi", client_manager=manager)
        await server.emit("said", "x")
        await manager.close()  # nobody has come: that is no error
        waits.clear()
        await server.emit("said", "y")
        assert waits == [()]
        manager.initialize()
        await manager.pre_connect("eio", "/")
        await manager.pre_connect("another", "/")
        assert waits == [(), ("socketio",)]
        await manager.close()

    waits: list[tuple[str, ...]] = []
    there = Registry()
    with federate("fed", registry=Registry()) as node, federate("fed", registry=there) as other:

        def wait_ready(timeout: float, given: bool) -> None:
            Node._wait_ready(node, timeout, given)
            waits.append(other.peers[0].interest)

        monkeypatch.setattr(node, "_wait_ready", wait_ready)
        asyncio.run(main(node))


@pytest.mark.sockets
def test_no_client_is_let_in_without_the_federation(
    rendezvous: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it cannot be joined a client is refused and whoever emits gets the error."""
    import socketio

    from zexchange.contrib.socketio import AsyncExchangeManager, ExchangeManager

    (tmp_path / "file").touch()
    monkeypatch.setenv("ZEXCHANGE_DIR", str(tmp_path / "file"))

    async def main() -> None:
        manager = AsyncExchangeManager("chat")
        server = socketio.AsyncServer(async_mode="asgi", client_manager=manager)
        assert await manager.pre_connect("eio", "/") is None
        with pytest.raises(Unreachable):
            await server.emit("said", "x")

    asyncio.run(main())
    manager = ExchangeManager("chat")
    server = socketio.Server(async_mode="threading", client_manager=manager)
    assert manager.pre_connect("eio", "/") is None
    with pytest.raises(Unreachable):
        server.emit("said", "x")


@pytest.mark.parametrize("arguments", [{}, {"federation": "chat", "node": "a node"}])
def test_a_federation_or_a_node(arguments: dict[str, object]) -> None:
    """Neither or both is an error, before anything else happens."""
    from zexchange.contrib.socketio import AsyncExchangeManager, ExchangeManager

    for manager in (AsyncExchangeManager, ExchangeManager):
        with pytest.raises(TypeError, match="one of the two"):
            manager(**arguments)


@pytest.mark.parametrize("mode", ["gevent", "eventlet"])
def test_greenlets_are_refused(mode: str) -> None:
    """A server without real threads is refused when it is made, and the text says what to use."""
    from zexchange.contrib.socketio import ExchangeManager

    class Engine:
        async_mode = mode

    class Server:
        eio = Engine()

    with pytest.raises(ValueError, match="'threading'"):
        ExchangeManager("chat").set_server(Server())

"""Socket.IO over several worker processes: events, rooms, answers, and workers that are killed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contrib.servers import Client, spread, uvicorn
from tests.support import PATIENCE, ROOT, Program, eventually
from zexchange import Registry, federate

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


@pytest.mark.sockets
@pytest.mark.leaves_files
def test_killed_workers_cost_no_client_a_message(rendezvous: Path) -> None:
    """While workers are killed and started again, clients of living ones miss nothing."""
    words = "--workers 2 --clients 8 --broadcasts 1200 --rate 200 --every 1.5 --rounds 1"
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
    assert int(row["kills"]) >= 1
    assert int(row["of"].replace(",", "")) > 2000


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

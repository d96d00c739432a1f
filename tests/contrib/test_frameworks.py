"""The programs of docs/guide/frameworks.md, served by several workers as the page says."""

import logging
import os
import subprocess
import sys
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.contrib.pages import COMMANDS, MOST_LINES, PROGRAMS, lines
from tests.contrib.servers import Client, Listener, served, spread, uvicorn
from tests.support import PATIENCE, ROOT, Program, eventually
from zexchange import Registry, federate

sockets = pytest.mark.sockets
pytest.importorskip("uvicorn", reason="needs uvicorn")
pytest.importorskip("websockets", reason="needs websockets")


def test_every_program_is_short_and_has_its_command() -> None:
    """Each has at most 15 lines, and a command on the page that runs it."""
    assert len(PROGRAMS) == 6
    for name, program in PROGRAMS.items():
        assert lines(program) <= MOST_LINES, name
        stem = name.removesuffix(".py")
        assert any(f"{stem}:app" in command or name in command for command in COMMANDS), name


@sockets
def test_socketio(rendezvous: Path, tmp_path: Path) -> None:
    """What a client says is said to the clients of every worker."""
    pytest.importorskip("socketio", reason="needs the extra socketio")
    with (
        uvicorn(tmp_path, PROGRAMS["chat.py"], 2) as port,
        spread(lambda: Client(port), 2) as clients,
    ):
        for client in clients:
            client.emit("say", f"hello from {client.worker}")
        for client in clients:
            for other in clients:
                client.expect("said", f"hello from {other.worker}")


WHERE = """

@sio.on("where")
def where():
    import os
    return os.getpid()
"""


@sockets
@pytest.mark.leaves_files
def test_flask_socketio(rendezvous: Path, tmp_path: Path) -> None:
    """Workers that gunicorn forks from a preloaded application reach each other's clients."""
    for module in ("flask_socketio", "gunicorn", "simple_websocket"):
        pytest.importorskip(module, reason=f"needs {module}")
    (tmp_path / "flask_chat.py").write_text(PROGRAMS["flask_chat.py"] + WHERE)
    words = ("flask_chat:app", "--preload", "--workers", "2", "--threads", "20")
    bind = ("--bind", "127.0.0.1:PORT", "--log-level", "error")
    with served(tmp_path, "gunicorn", *words, *bind) as port:
        where = {}

        def place(client: Client) -> object:
            where[client] = client.call("where")
            return where[client]

        with spread(lambda: Client(port), 2, place) as clients:
            for client in clients:
                client.emit("say", f"hello from {where[client]}")
            for client in clients:
                for other in clients:
                    client.expect("said", f"hello from {where[other]}")


@sockets
def test_litestar(rendezvous: Path, tmp_path: Path) -> None:
    """What is published in one worker reaches the sockets of all, and a later one by history."""
    pytest.importorskip("litestar", reason="needs the extra litestar")

    def publish(text: str) -> None:
        address = f"http://127.0.0.1:{port}/{text}"
        with urllib.request.urlopen(urllib.request.Request(address, method="POST"), timeout=20):
            pass

    with (
        uvicorn(tmp_path, PROGRAMS["news.py"], 2) as port,
        spread(lambda: Listener(port, "/headlines"), 2) as listeners,
    ):
        publish("first")
        for listener in listeners:  # accepted a moment before it is subscribed
            listener.until(lambda got=listener.got: "first" in got)
            listener.got.clear()
        expected = [f"news{n}" for n in range(6)]
        for text in expected:
            publish(text)
        for listener in listeners:
            listener.until(lambda got=listener.got: len(got) >= 6)
            assert sorted(listener.got) == expected
        with spread(lambda: Listener(port, "/headlines"), 2) as late:
            for listener in late:
                listener.until(lambda got=listener.got: len(got) >= 7)
                assert listener.got == ["first", *expected]


@sockets
@pytest.mark.leaves_files
def test_broadcaster(rendezvous: Path, tmp_path: Path) -> None:
    """Each process hears of itself and of who comes later."""
    pytest.importorskip("broadcaster", reason="needs the extra broadcaster")
    source = PROGRAMS["rooms.py"]
    with ExitStack() as stack:
        first = stack.enter_context(Program(source))
        stack.callback(first.kill)
        first.expect(f"{first.pid} is here")
        second = stack.enter_context(Program(source))
        stack.callback(second.kill)
        second.expect(f"{second.pid} is here")
        first.expect(f"{second.pid} is here")


@sockets
def test_logs(rendezvous: Path, tmp_path: Path) -> None:
    """The listener's process shows what the worker logged."""
    (tmp_path / "logs.py").write_text(PROGRAMS["logs.py"])
    done = run(str(tmp_path / "logs.py"))
    assert done.stderr == "SpawnProcess-1 worker: sold 3 of bicycles\n"


@sockets
@pytest.mark.leaves_files
def test_gunicorn(rendezvous: Path, tmp_path: Path) -> None:
    """Every worker that is forked from a federated program counts the hits of all."""
    pytest.importorskip("gunicorn", reason="needs gunicorn")
    (tmp_path / "counter.py").write_text(PROGRAMS["counter.py"])
    words = ("counter:app", "--preload", "--workers", "2", "--bind", "127.0.0.1:PORT")
    with served(tmp_path, "gunicorn", *words, "--log-level", "error") as port:
        seen: dict[str, int] = {}

        def hit() -> bool:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
                hits, _, who = answer.read().decode().partition(" hits, seen by ")
            seen[who] = int(hits)
            return len(seen) == 2 and max(seen.values()) - min(seen.values()) <= 2

        eventually(hit)
        before = sum(seen.values())
        for _ in range(20):
            hit()
        assert sum(seen.values()) > before


LOGGED = """
import logging, os
from zexchange.contrib.logging import ExchangeHandler

logging.basicConfig(handlers=[ExchangeHandler("fed")], level=logging.INFO)
logging.info("master")


def app(environ, start_response):
    logging.info("worker %d", os.getpid())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


@sockets
@pytest.mark.leaves_files
def test_gunicorn_whose_workers_log(rendezvous: Path, tmp_path: Path) -> None:
    """They are forked while the master joins, answer, and what each logs arrives."""
    pytest.importorskip("gunicorn", reason="needs gunicorn")
    from zexchange.contrib.logging import ExchangeListener

    (tmp_path / "logged.py").write_text(LOGGED)
    words = ("logged:app", "--preload", "--workers", "3", "--bind", "127.0.0.1:PORT")
    heard: list[str] = []
    logger = logging.Logger("collected")
    logger.addFilter(lambda record: heard.append(record.getMessage()) or False)  # type: ignore[func-returns-value]
    with (
        ExchangeListener("fed", logger),
        served(tmp_path, "gunicorn", *words, "--log-level", "error") as port,
    ):
        answered: list[str] = []

        def hit() -> bool:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
                answered.append("worker " + answer.read().decode())
            return len(set(answered)) == 3

        eventually(hit)
        eventually(lambda: len(heard) > len(answered))
    assert sorted(heard) == sorted(["master", *answered])


def run(program: str) -> "subprocess.CompletedProcess[str]":
    """Run a program, or a file, to a good end."""
    words = [program] if program.endswith(".py") else ["-c", program]
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done


FORKED = """
import os, zexchange
got = []
zexchange.get_exchange("said").handler(got.append)
node = zexchange.federate("fed")
if pid := os.fork():
    os.waitpid(pid, 0)
else:
    print("forked")
    input()
    print(got)
    node.wait_ready()
    print("ready")
    input()
    print(got)
    node.close()
"""


@sockets
def test_a_forked_worker_hears_from_its_first_use_on(rendezvous: Path) -> None:
    """Not what is sent before: `wait_ready` is such a use."""
    registry = Registry()
    with federate("fed", registry=registry) as node, Program(FORKED) as program:
        program.expect("forked")
        node.wait_subscribers("said", 1)  # the parent, which has it
        registry.get("said").send("early")
        node.flush()
        program.say()
        program.expect("[]")
        program.expect("ready")
        registry.get("said").send("late")
        node.flush()
        program.say()
        program.expect("['late']")

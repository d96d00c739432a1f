"""`examples/web/chat.py`, which docs/guide/fastapi.md shows, served by two workers."""

import http.client
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests import pages
from tests.contrib.servers import Listener, served, spread
from tests.support import ROOT, eventually, patience
from zexchange import Registry, federate

WEB = ROOT / "examples" / "web"
PAGE = {block.file: block.text for block in pages.blocks(ROOT / "docs" / "guide" / "fastapi.md")}
sockets = pytest.mark.sockets


def test_the_guide_shows_the_example() -> None:
    """All of the program, but for its docstring, and pieces of its page as they stand."""
    _, _, program = (WEB / "chat.py").read_text(encoding="utf-8").partition('"""\n\n')
    assert PAGE["chat.py"] == program
    html = (WEB / "chat.html").read_text(encoding="utf-8")
    excerpts = [b.text for b in pages.blocks(ROOT / "docs" / "guide" / "fastapi.md")]
    for line in (line for text in excerpts if "EventSource(" in text for line in text.splitlines()):
        assert line.strip() in html


@contextmanager
def chat(folder: Path) -> Iterator[int]:
    """Two workers by the command on the example's top, and the port that they answer at."""
    for module in ("fastapi", "sse_starlette", "itsdangerous", "uvicorn", "websockets"):
        pytest.importorskip(module, reason=f"needs {module}")
    command = "--app-dir examples/web --workers 4 --timeout-graceful-shutdown 3 chat:app"
    assert command in (WEB / "chat.py").read_text(encoding="utf-8")
    words = command.replace("examples/web", str(WEB)).replace("4", "2").split()
    with served(folder, "uvicorn", *words, "--port", "PORT", "--log-level", "error") as port:
        yield port


def ask(port: int, method: str, path: str, who: dict[str, str], text: str = "") -> tuple[int, str]:
    """Return the status of an answer, and the cookie that it sets."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=patience())) as connection:
        kind = {"Content-Type": "application/json"} if text else {}
        connection.request(method, path, json.dumps({"text": text}) if text else None, who | kind)
        with connection.getresponse() as answer:
            return answer.status, str(answer.getheader("Set-Cookie"))


def session(port: int, name: str) -> dict[str, str]:
    """Log in, and return the header that says so."""
    return {"Cookie": ask(port, "GET", f"/as/{name}", {})[1].partition(";")[0]}


def publish(port: int, who: dict[str, str], text: str) -> int:
    """Return the status with which a notice is answered."""
    return ask(port, "POST", "/notices", who, text)[0]


class Tab(Listener):
    """A browser in a room, which knows its worker from the first message."""

    def __init__(self, port: int, headers: dict[str, str], room: str = "lobby") -> None:
        self.messages: list[dict[str, Any]] = []
        super().__init__(port, f"/rooms/{room}", headers)
        self.until(lambda: self.messages)
        self.worker = self.messages.pop(0)["worker"]

    def take(self, frame: str) -> None:
        super().take(frame)
        self.messages.append(json.loads(frame))


class Source(Listener):
    """A browser that reads the notices; a slow one reads the first, and goes on when it may."""

    def __init__(self, port: int, headers: dict[str, str], slow: bool = False) -> None:
        self.got, self.closed = [], False
        self.messages: list[dict[str, Any]] = []
        self.may_read = threading.Event()
        if not slow:
            self.may_read.set()
        self.address = socket.create_connection(("127.0.0.1", port), patience())
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.address.sendall(f"GET /notices HTTP/1.1\r\nHost: here\r\n{head}\r\n".encode())
        assert self.address.recv(15) == b"HTTP/1.1 200 OK"
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError), self.address.makefile("rb") as lines:
            for line in lines:
                if line.startswith(b"data: "):
                    self.messages.append(json.loads(line[6:]))
                    self.may_read.wait()
        self.closed = True

    def close(self) -> None:
        self.may_read.set()
        with suppress(OSError):
            self.address.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self.address.close()


def texts(browser: Any) -> list[str]:
    return [message["text"] for message in browser.messages if "text" in message]


def refused(port: int, room: str, who: dict[str, str]) -> int:
    """Return the status with which a WebSocket is refused."""
    from websockets.exceptions import InvalidStatus

    with pytest.raises(InvalidStatus) as error:
        Tab(port, who, room)
    return error.value.response.status_code


@sockets
def test_what_one_worker_is_told_is_at_browsers_of_all(rendezvous: Path, tmp_path: Path) -> None:
    """By WebSocket and as events, late browsers included; and everybody does what they may."""
    with chat(tmp_path) as port, ExitStack() as browsers:
        ada, bob = session(port, "ada"), session(port, "bob")
        tabs = browsers.enter_context(spread(lambda: Tab(port, ada), 2))
        for number, tab in enumerate(tabs, 1):
            tab.socket.send(f"line {number}")
            for other in tabs:
                other.until(lambda other=other, number=number: len(texts(other)) == number)
        said_at = {(message["who"], message["worker"]) for message in tabs[0].messages}
        assert said_at == {("ada", tab.worker) for tab in tabs}

        sources = [browsers.enter_context(closing(Source(port, bob))) for _ in range(6)]
        expected = [f"notice {number}" for number in range(6)]
        for text in expected:
            assert publish(port, ada, text) == 204
        sources.append(browsers.enter_context(closing(Source(port, bob))))
        for source in sources:
            source.until(lambda source=source: len(texts(source)) == 6)
            assert sorted(texts(source)) == expected
        late = browsers.enter_context(closing(Tab(port, bob)))
        late.until(lambda: sorted(texts(late)) == ["line 1", "line 2"])

        for nobody in ({}, {"Cookie": "session=made.up"}, session(port, "eve")):
            assert ask(port, "GET", "/notices", nobody)[0] == 401
            assert publish(port, nobody, "spam") == 401
            assert refused(port, "lobby", nobody) == 401
        assert publish(port, bob, "spam") == 403
        assert refused(port, "office", bob) == 403
        assert refused(port, "nowhere", ada) == 403
        Tab(port, ada, "office").close()
        assert "spam" not in texts(sources[0])


@sockets
def test_a_slow_browser_is_told_how_much_it_has_missed(rendezvous: Path, tmp_path: Path) -> None:
    """It holds up neither its worker nor others, which get everything."""
    registry = Registry()
    notices = registry.get("site.notices")
    with (
        chat(tmp_path) as port,
        federate("site", registry=registry, retain={"site.**": 1}),
        ExitStack() as browsers,
    ):
        bob = session(port, "bob")
        fast = browsers.enter_context(closing(Source(port, bob)))
        slow = browsers.enter_context(closing(Source(port, bob, slow=True)))
        notices.send({"id": "1", "text": "1"})  # who subscribes a moment later gets it, too
        sent = 1
        slow.until(lambda: slow.messages)
        for _ in range(15):
            for _ in range(20):
                sent += 1
                notices.send({"id": str(sent), "text": f"{sent:0100000}"})
            fast.until(lambda sent=sent: len(texts(fast)) == sent)
        slow.may_read.set()
        slow.until(lambda: int(texts(slow)[-1][-9:]) == sent)
        missed = [message["missed"] for message in slow.messages if "missed" in message]
        assert missed
        assert len(texts(slow)) + sum(missed) == sent


@sockets
@pytest.mark.leaves_files
def test_browsers_outlive_their_workers(rendezvous: Path, tmp_path: Path) -> None:
    """One is killed: others' lines are read after connecting again; all end while they are read."""
    with ExitStack() as browsers:
        with chat(tmp_path) as port:
            ada = session(port, "ada")
            with spread(lambda: Tab(port, ada), 2) as (one, other):
                os.kill(one.worker, signal.SIGKILL)
                eventually(lambda: one.closed)
                other.socket.send("meanwhile")
                again = browsers.enter_context(spread(lambda: Tab(port, ada), 2))
            for tab in again:
                assert tab.worker != one.worker
                tab.until(lambda tab=tab: "meanwhile" in texts(tab))
            last = browsers.enter_context(closing(Source(port, ada)))
        eventually(lambda: last.closed and all(tab.closed for tab in again))

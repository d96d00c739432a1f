"""The guide's page about browsers, in a real one; and its words on paths, origins and FastAPI."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

import zexchange
from tests.contrib.servers import served
from tests.contrib.test_browser import CHROMIUM, browser
from tests.contrib.web.servers import Browser, environment, gateway
from tests.pages import blocks
from tests.support import PATIENCE, ROOT, eventually, patience

pytestmark = pytest.mark.sockets

FILES = {b.file: b.text for b in blocks(ROOT / "docs" / "guide" / "browsers.md") if b.file}
QUIET = ("--port", "PORT", "--log-level", "error", "--timeout-graceful-shutdown", "1")
WITH_FASTAPI = """
from fastapi import FastAPI
from zexchange.contrib.web import Gateway

gateway = Gateway("board", publish="notes", token=None)
app = FastAPI(routes=gateway.routes, lifespan=gateway.lifespan)
"""


@contextmanager
def application(folder: Path, name: str) -> Iterator[int]:
    """Save what the page shows, and serve one of its applications."""
    for file, text in FILES.items():
        (folder / file).write_text(text, encoding="utf-8")
    with served(folder, "uvicorn", f"{name}:app", *QUIET) as port:
        yield port


def answer(tab: Any) -> str:
    """Press the button, and return what the page shows then."""
    tab.evaluate("document.getElementById('answer').textContent = ''")
    tab.click("#ask")
    filled = "document.getElementById('answer').textContent !== ''"
    tab.wait_for_function(filled, timeout=PATIENCE * 1000)
    return str(tab.text_content("#answer"))


@contextmanager
def prices(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """The page's program, until it has sent its prices; ended as by Ctrl-C."""
    command = [sys.executable, "-u", "prices.py", "191.25", "190.75"]
    with subprocess.Popen(
        command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, text=True
    ) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "sent 2 prices\n"
            yield program
        finally:
            program.terminate()


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt install chromium)")
def test_the_board_shows_prices_and_asks(rendezvous: Path, tmp_path: Path) -> None:
    """Before and after the program starts; without it, the page says so; its console is empty."""
    pytest.importorskip("playwright", reason="needs playwright")
    shows = "text => document.body.textContent.includes(text)"
    said: list[str] = []
    with application(tmp_path, "board") as port, browser() as chromium:

        def opened():
            tab = chromium.new_page(viewport={"width": 390, "height": 300})
            tab.on("pageerror", lambda error: said.append(str(error)))
            tab.on("console", lambda message: said.append(message.text))
            tab.goto(f"http://127.0.0.1:{port}/")
            return tab

        first = opened()
        first.click("#ask")
        first.wait_for_function(shows, arg="nobody answers", timeout=PATIENCE * 1000)
        with prices(tmp_path) as program:
            for tab in first, opened():
                tab.wait_for_function(shows, arg="prices.AAPL: 190.75", timeout=PATIENCE * 1000)
                # The gateway may learn a moment later than of the price that somebody answers.
                eventually(lambda tab=tab: answer(tab) == "3")
                assert program.stdout is not None
                assert program.stdout.readline().startswith("a page asked at 20")
    assert not said


def test_gateways_at_paths_of_their_own(rendezvous: Path, tmp_path: Path) -> None:
    """Each has its rights and its token; both are in the federation."""
    token = "a long random text"
    with application(tmp_path, "roles") as port:
        with Browser(port, token="") as reader, Browser(port, token, path="/editors/ws") as editor:
            assert reader.call("attach", 1, "prices.*", 0, "")[0] == "done"
            assert reader.call("send", "prices.a", 1)[3] == "publish"
            assert reader.call("attach", 2, "notes", 0, "")[3] == "subscribe"
            assert editor.call("attach", 1, "notes", 0, "")[0] == "done"
            assert editor.call("send", "prices.a", 2)[0] == "done"
            assert reader.message() == ["prices.a", 2]
        with Browser(port, token="", path="/editors/ws") as stranger:
            with pytest.raises(ConnectionClosed) as closed:
                stranger.socket.recv(patience())
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4401


def test_an_application_of_fastapi(rendezvous: Path, tmp_path: Path) -> None:
    """It takes the routes and the lifespan of a gateway."""
    pytest.importorskip("fastapi", reason="needs fastapi")
    (tmp_path / "fast.py").write_text(WITH_FASTAPI, encoding="utf-8")
    registry = zexchange.Registry()
    with registry.get("notes").stream() as notes:
        with zexchange.federate("board", registry=registry):
            with served(tmp_path, "uvicorn", "fast:app", *QUIET) as port:
                with Browser(port, token="") as page:
                    assert page.call("send", "notes", "hello")[0] == "done"
                    assert notes.get(timeout=patience()) == "hello"


def test_listed_origins_may_connect(rendezvous: Path, tmp_path: Path) -> None:
    """As behind a proxy, which passes on the public name or its own; others may not."""
    public = "https://board.example"
    with gateway(tmp_path, f"token=None, origins=[{public!r}]") as port:
        for host in "", "board.example":
            with Browser(port, token="", origin=public, host=host) as page:
                assert page.read()[0] == "welcome"
        with Browser(port, token="", origin="https://other.example") as page:
            with pytest.raises(ConnectionClosed):
                page.socket.recv(patience())

"""The chat of `examples/browsers` in a real browser: its server is killed, and the page goes on."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import zexchange
from tests.contrib.servers import answers
from tests.contrib.test_browser import CHROMIUM, browser, said
from tests.contrib.web.servers import environment
from tests.support import PATIENCE, ROOT, eventually, free_ports

WORDS = ("uvicorn", "--app-dir", str(ROOT / "examples" / "browsers"), "--log-level", "error")


@contextmanager
def server(folder: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", *WORDS, "--port", str(port), "chat:app"]
    with subprocess.Popen(command, cwd=folder, env=environment(folder)) as process:
        try:
            eventually(lambda: answers(port))
            yield process
        finally:
            process.terminate()


def shows(tab: Any, text: str) -> None:
    """Wait until a page shows a text."""
    tab.wait_for_function(
        "text => document.getElementById('said').textContent.includes(text)",
        arg=text,
        timeout=PATIENCE * 1000,
    )


def say(tab: Any, text: str) -> None:
    tab.fill("#who", "ada")
    tab.fill("#text", text)
    tab.press("#text", "Enter")


@pytest.mark.sockets
@pytest.mark.leaves_files
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt install chromium)")
def test_a_page_goes_on_when_its_server_was_killed(rendezvous: Path, tmp_path: Path) -> None:
    """It shows what was said meanwhile, once each, and what it was told to say itself arrives."""
    pytest.importorskip("playwright", reason="needs playwright")
    registry, port = zexchange.Registry(), free_ports()[0]
    registry.retain("chat.*", 50)
    lobby = registry.get("chat.lobby")
    with (
        lobby.stream() as heard,
        zexchange.federate("chat", registry=registry),
        browser() as chromium,
        ExitStack() as stack,
    ):
        errors: list[str] = []
        with server(tmp_path, port) as first:
            tab = chromium.new_page(viewport={"width": 390, "height": 500})
            tab.on("pageerror", lambda error: errors.append(str(error)))
            tab.goto(f"http://127.0.0.1:{port}/")
            say(tab, "Is anybody there?")
            assert heard.get(timeout=PATIENCE)["text"] == "Is anybody there?"
            lobby.send({"id": "1", "who": "bot", "text": "I am <b>here</b>."})
            shows(tab, "I am <b>here</b>.")
            first.kill()
            first.wait()
        tab.wait_for_selector("#state.off", timeout=PATIENCE * 1000)
        lobby.send({"id": "2", "who": "bot", "text": "Where are you?"})
        say(tab, "Without a connection.")
        tab.wait_for_selector("li.waiting")
        stack.enter_context(server(tmp_path, port))
        shows(tab, "Where are you?")
        while heard.get(timeout=PATIENCE)["text"] != "Without a connection.":
            pass
        tab.wait_for_selector("#state:not(.off)", timeout=PATIENCE * 1000)
        eventually(lambda: not tab.query_selector("li.waiting"))
        expected = ["Is anybody there?", "I am <b>here</b>.", "Without a connection."]
        expected += ["Where are you?", "the server was started again: messages may be missing"]
        assert sorted(said(tab)) == sorted(expected)
        assert not errors

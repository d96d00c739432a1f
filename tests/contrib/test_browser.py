"""The chat of `examples/web`, in a real browser: four tabs on four workers, every message in each.

``python -m tests.contrib.test_browser FILE.png`` makes the picture of it that the guide shows.
"""

import base64
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contrib.servers import served
from tests.support import PATIENCE, ROOT, eventually

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WORKERS = 4
USERS = ("ada", "bob", "ada", "bob")
LINES = (
    "Is anybody there?",
    "I am, on another worker.",
    "So am I, on a third.",
    "And nothing in between.",
)


@contextmanager
def browser() -> Iterator[Any]:
    """A chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            yield chromium
        finally:
            chromium.close()


@contextmanager
def chat(folder: Path) -> Iterator[str]:
    """The example, by the command on its top."""
    for module in ("fastapi", "sse_starlette", "itsdangerous"):
        pytest.importorskip(module, reason=f"needs {module}")
    words = ("--app-dir", str(ROOT / "examples" / "web"), "--workers", str(WORKERS), "chat:app")
    with served(folder, "uvicorn", *words, "--port", "PORT", "--log-level", "error") as port:
        yield f"http://127.0.0.1:{port}/"


def tabs(chromium: Any, address: str) -> list[Any]:
    """Open tabs until there is one on each worker; return those."""
    found: dict[str, Any] = {}

    def open_one() -> bool:
        tab = chromium.new_page(viewport={"width": 480, "height": 270})
        tab.goto(f"{address}as/{USERS[len(found)]}")
        tab.wait_for_function("document.getElementById('worker').textContent != '…'")
        if found.setdefault(tab.text_content("#worker"), tab) is not tab:
            tab.close()
        return len(found) == WORKERS

    eventually(open_one)
    return list(found.values())


def said(tab: Any) -> list[str]:
    """The messages that a tab shows."""
    texts: list[str] = tab.eval_on_selector_all("#said span", "all => all.map(x => x.textContent)")
    return texts


def talk(pages: list[Any]) -> None:
    """Have each tab say its line, once all have the one before."""
    for number, (tab, line) in enumerate(zip(pages, LINES, strict=True), 1):
        tab.fill("#text", line)
        tab.press("#text", "Enter")
        for other in pages:
            enough = f"document.querySelectorAll('#said li').length >= {number}"
            other.wait_for_function(enough, timeout=PATIENCE * 1000)


@pytest.mark.sockets
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt install chromium)")
def test_every_message_is_in_every_tab(rendezvous: Path, tmp_path: Path) -> None:
    """Four tabs on four workers show all that any of them said, and so does a late one."""
    pytest.importorskip("playwright", reason="needs playwright")
    with chat(tmp_path) as address, browser() as chromium:
        pages = tabs(chromium, address)
        talk(pages)
        for tab in pages:
            assert said(tab) == list(LINES)
        late = chromium.new_page()
        late.goto(f"{address}as/bob")
        enough = f"document.querySelectorAll('#said li').length >= {len(LINES)}"
        late.wait_for_function(enough, timeout=PATIENCE * 1000)
        assert sorted(said(late)) == sorted(LINES)
        pages[0].fill("#text", "<img src=x onerror=alert(1)>")
        pages[0].press("#text", "Enter")
        eventually(lambda: "<img" in said(pages[1])[-1])
        assert not pages[1].query_selector("#said img")


def picture(path: Path) -> None:
    """Save four tabs on four workers as one image."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.environ["ZEXCHANGE_DIR"] = folder
        with chat(Path(folder)) as address, browser() as chromium:
            pages = tabs(chromium, address)
            talk(pages)
            shots = [base64.b64encode(tab.screenshot()).decode() for tab in pages]
            grid = chromium.new_page(viewport={"width": 972, "height": 552})
            images = "".join(f'<img src="data:image/png;base64,{shot}">' for shot in shots)
            style = "display:grid;grid-template-columns:1fr 1fr;gap:4px;margin:4px"
            grid.set_content(f'<body style="{style};background:#c5cbd6">{images}')
            grid.screenshot(path=path)


if __name__ == "__main__":
    picture(Path(sys.argv[1]))

"""The page in a real browser: what is drawn is what flows, by mouse and by keyboard.

``python -m tests.contrib.web.test_page_chromium FOLDER`` makes the pictures that the guide shows.
"""

import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import zexchange
from tests.contrib.web.chromium import CHROMIUM, Tab, chromium
from tests.contrib.web.page import TOKEN, serving
from tests.contrib.web.plant import SENDS, plant
from tests.support import ROOT, eventually, patience
from zexchange.contrib.web.page.page import STATIC

browser = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt install chromium)")
VIEWS = {
    "map": ("map", "document.querySelectorAll('.flow:not(.idle)').length > 9"),
    "exchanges": ("exchanges", "document.querySelectorAll('tbody tr').length > 6"),
    "exchange": (
        "exchange/plant.frames",
        "document.querySelectorAll('.tail li').length > 5 && document.querySelector('.line')",
    ),
    "doctor": ("doctor", "document.querySelector('.verdict.good')"),
}
SIZES = {"": (1280, 800), "-phone": (390, 844)}
SHOWN = ("map", "map-phone-dark", "exchanges-dark", "exchange", "exchange-phone", "doctor-dark")
"""The pictures that the guide has."""
LIVE = "document.getElementById('connection')?.textContent == 'live'"
HOSTILE = "<img src=x onerror=alert(1)>"


def address(port: int) -> str:
    return f"http://127.0.0.1:{port}/flow/"


@contextmanager
def opened(port: int, folder: Path) -> Iterator[Tab]:
    """A browser with the page; it complains of nothing, and asks no other server."""
    with chromium(folder) as tab:
        tab.size(1280, 800)
        tab.open(f"{address(port)}#token={TOKEN.replace(' ', '%20')}")
        tab.wait(LIVE)
        yield tab
        assert tab.complaints == []
        here = f"127.0.0.1:{port}"
        assert all(
            url.startswith((f"http://{here}/flow/", f"ws://{here}/", "data:"))
            for url in tab.requests
        )
        assert not any("token" in url.partition("#")[0] for url in tab.requests)


def flows(tab: Tab) -> set[tuple[str, str]]:
    """The flows that are drawn, with a rate."""
    code = "[...document.querySelectorAll('.flow:not(.idle) title')].map(t => t.textContent)"
    found = (re.match(r"(.*?) → (.*?): ", title) for title in tab.js(code))
    return {(one[1], one[2]) for one in found if one}


@browser
@pytest.mark.sockets
def test_what_is_drawn_is_what_flows(rendezvous: Path, tmp_path: Path) -> None:
    """Lines, rates and counts follow the messages, and end with them; names are only text."""
    feed, screen = zexchange.Registry(), zexchange.Registry()
    done, sent = threading.Event(), 0

    def send() -> None:
        nonlocal sent
        while not done.wait(0.02):
            feed.get("plant.temperature").send(HOSTILE)
            sent += 1

    with (
        zexchange.federate("pages", label="feed", registry=feed) as node,
        zexchange.federate("pages", label=HOSTILE, registry=screen),
        serving(tmp_path) as port,
        opened(port, tmp_path) as tab,
    ):
        screen.get("plant.temperature").attach(zexchange.to_call(lambda received: None))
        node.wait_subscribers("plant.temperature", 1, timeout=patience())
        thread = threading.Thread(target=send)
        thread.start()
        try:
            eventually(lambda: flows(tab) == {("feed", HOSTILE)})
            began, before = time.monotonic(), sent

            def as_sent() -> bool:
                shown = float(tab.js("document.querySelector('tbody td:nth-child(3)').textContent"))
                rate = (sent - before) / (time.monotonic() - began)
                return abs(shown - rate) < 0.2 * rate

            eventually(as_sent)
            tab.js("location.hash = '#/exchange/plant.temperature'")
            tab.wait(
                "document.querySelector('.tail li:nth-child(4)') && document.querySelector('.line')"
            )
            assert tab.js("document.querySelector('.tail code').textContent") == HOSTILE
        finally:
            done.set()
            thread.join()
        tab.js("location.hash = '#/exchanges'")
        counted = "document.querySelector('tbody td:nth-child(11)')?.textContent"
        eventually(lambda: tab.js(counted) == str(sent) or sent > 999)
        assert tab.js("document.querySelector('tbody th').textContent") == "plant.temperature"
        assert tab.js("document.querySelector('tbody td:nth-child(5)').textContent") == HOSTILE
        tab.js("location.hash = '#/map'")
        tab.wait("document.querySelector('.flow.idle')")
        assert flows(tab) == set()
        assert tab.js("document.querySelectorAll('img').length") == 0


@browser
@pytest.mark.sockets
@pytest.mark.slow
def test_the_keyboard_reaches_everything(rendezvous: Path, tmp_path: Path) -> None:
    """The form for the token, nodes of the map, the columns of the table, and the colours."""
    with plant("pages"), serving(tmp_path) as port, opened(port, tmp_path) as tab:
        tab.wait(VIEWS["map"][1])
        assert tab.js("location.hash") == "#/map"
        assert TOKEN not in tab.js("decodeURIComponent(location.href)")
        tab.js("document.querySelector('.node').focus()")
        tab.key("Enter")
        assert "msg/s" in tab.wait("document.querySelector('.facts:not([hidden])')?.textContent")
        assert tab.js("document.activeElement.getAttribute('aria-pressed')") == "true"
        tab.key("Escape")
        assert tab.js("document.querySelector('.facts').hidden") is True
        tab.js("location.hash = '#/exchanges'")
        tab.wait(VIEWS["exchanges"][1])
        tab.js("document.querySelector('thead button').focus()")
        tab.key("Enter")
        tab.wait("document.querySelector('th[aria-sort=ascending]')?.textContent == 'Exchange'")
        tab.wait("document.querySelector('tbody th').textContent == 'alarms.high'")
        tab.js("document.getElementById('filter').focus()")
        tab.type("*.frames")
        tab.wait("document.querySelectorAll('tbody tr').length == 1")
        tab.js("document.querySelector('tbody a').focus()")
        tab.key("Enter")
        tab.wait(VIEWS["exchange"][1])
        tab.js("document.getElementById('theme').focus()")
        tab.key("Enter")
        assert tab.js("document.documentElement.dataset.theme") == "light"
        tab.key("Enter")
        ground = "getComputedStyle(document.body).backgroundColor"
        assert tab.js(ground) == "rgb(17, 22, 29)"
        tab.js("sessionStorage.clear()")
        tab.open(f"{address(port)}?again")
        tab.wait("document.activeElement?.id == 'token'")
        tab.type("wrong")
        tab.key("Enter")
        tab.wait("document.querySelector('[role=alert]')")
        tab.type(TOKEN)
        tab.key("Enter")
        tab.wait(VIEWS["map"][1])


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, as WCAG 2 has it."""

    def light(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_stands_out_in_both_colours() -> None:
    """Each pair of text and ground has a contrast of 4.5 at least; both dark lists are the same."""
    css = (STATIC / "page.css").read_text()
    lists = re.findall(r":root[^{]*\{([^}]*)\}", css)
    light, dark, again = (dict(re.findall(r"--([\w-]+): (#\w{6})", found)) for found in lists)
    assert dark == again
    pairs = [(text, on) for text in ("text", "muted", "accent", "bad") for on in ("card", "ground")]
    pairs += [
        ("accent", "accent-soft"),
        ("bad", "bad-soft"),
        ("good", "good-soft"),
        ("good", "card"),
    ]
    for colours in light, dark:
        for text, ground in pairs:
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        assert contrast(colours["flow"], colours["card"]) >= 3.0


def pictures(folder: Path) -> list[str]:
    """Save a picture of each view, in both sizes and colours; return what the browser says."""
    with tempfile.TemporaryDirectory(prefix="zexchange-", dir="/tmp") as place:
        os.environ["ZEXCHANGE_DIR"] = place
        with plant("pages"), serving(Path(place)) as port, chromium(Path(place)) as tab:
            tab.dark(False)
            tab.size(1280, 800)
            tab.open(f"{address(port)}#token={TOKEN.replace(' ', '%20')}")
            tab.wait(LIVE)
            for name, (fragment, there) in VIEWS.items():
                tab.js(f"location.hash = '#/{fragment}'")
                tab.wait(there)
                if name == "exchange":  # a line of some length
                    points = (
                        "document.querySelector('.line').getAttribute('points').split(' ').length"
                    )
                    tab.wait(f"{points} > 30")
                for size, (width, height) in SIZES.items():
                    tab.size(width, height)
                    for dark in ("", "-dark"):
                        tab.dark(bool(dark))
                        tab.js("scrollTo(0, 0)")
                        tab.wait("new Promise(done => setTimeout(() => done(true), 1500))")
                        tab.picture(folder / f"{name}{size}{dark}.png")
                        assert tab.js("document.documentElement.scrollWidth") <= width
                tab.size(1280, 800)
            return tab.complaints


@browser
@pytest.mark.sockets
@pytest.mark.slow
def test_pictures_of_each_view(rendezvous: Path, tmp_path: Path) -> None:
    """At 1280 and 390 pixels, dark and light: nothing is wider than the window, none is empty."""
    assert pictures(tmp_path) == []
    made = list(tmp_path.glob("*.png"))
    assert len(made) == len(VIEWS) * 4
    assert all(path.stat().st_size > 10_000 for path in made)
    assert len(SENDS) == 9
    for name in SHOWN:
        assert (ROOT / "docs" / "images" / f"web-{name}.png").exists()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        print(pictures(Path(made)))
        for shown in SHOWN:
            (Path(sys.argv[1]) / f"web-{shown}.png").write_bytes(
                (Path(made) / f"{shown}.png").read_bytes()
            )

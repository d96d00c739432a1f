"""The page at real sockets: what may not be seen is not sent; nodes are asked while one looks."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from websockets.exceptions import ConnectionClosed

import zexchange
from tests.contrib.web.page import TOKEN, Viewing, serving
from tests.support import eventually, patience
from zexchange.contrib.web.page import Page

pytestmark = pytest.mark.sockets
SECRET = f"token={TOKEN!r}, allow='open.**'"


def stats(port: int) -> dict[str, Any]:
    with urlopen(f"http://127.0.0.1:{port}/stats") as answer:
        found: dict[str, Any] = json.load(answer)
        return found


@pytest.fixture
def port(rendezvous: Path, tmp_path: Path) -> Iterator[int]:
    with serving(tmp_path) as port:
        yield port


@pytest.fixture
def node(rendezvous: Path) -> Iterator[zexchange.Node]:
    with zexchange.federate("pages", label="feed", registry=zexchange.Registry()) as node:
        yield node


@contextmanager
def sending(node: zexchange.Node, *names: str, message: object = 1) -> Iterator[dict[str, int]]:
    """Send on some exchanges, a hundred times a second or less; yields how often so far."""
    sent = dict.fromkeys(names, 0)
    done = threading.Event()

    def send() -> None:
        while not done.wait(0.01):
            for name in names:
                sent[name] += 1
                node.registry.get(name).send(message)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield sent
    finally:
        done.set()
        thread.join()


def refused(port: int, code: int, reason: str, **how: Any) -> None:
    """See a connection refused, with that code, and nothing sent before."""
    before = stats(port)["refused"].get(reason, 0)
    with Viewing(port, **how) as browser:
        with pytest.raises(ConnectionClosed) as closed:
            browser.read()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code
    assert closed.value.rcvd.reason
    assert stats(port)["refused"][reason] == before + 1


def test_without_the_token_or_from_elsewhere_nothing_comes(port: int, node: zexchange.Node) -> None:
    """A connection that is refused gets no word, and no node is asked for its sake."""
    with sending(node, "a"):
        refused(port, 4401, "token", token="")
        refused(port, 4401, "token", token=TOKEN + " ")
        refused(port, 4403, "origin", origin="http://evil.example")
        refused(port, 4403, "origin", origin=f"http://127.0.0.1:{port + 1}")
        refused(port, 4403, "origin", origin="null")
        evil = f"evil.example:{port}"
        refused(port, 4403, "origin", origin=f"http://{evil}", host=evil)
        for hello in ("{", "[]", '{"zexchange": 2, "token": ""}', "[" * 4000, "x" * 5000):
            refused(port, 4400, "malformed", hello=hello)
        assert stats(port)["asking"] is False
        with Viewing(port) as browser:
            assert browser.read() == {"welcome": "pages", "allow": "**"}
            browser.ask("exchanges")
            browser.until("exchanges", lambda told: told["rows"])


def test_the_address_of_the_page_has_no_secret(port: int) -> None:
    """Anybody may load the files, which are the same for everybody, with strict headers."""
    with urlopen(f"http://127.0.0.1:{port}/flow/") as answer:
        headers, index = answer.headers, answer.read().decode()
    assert TOKEN not in index
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    for path in ("page.py", "../page.py", "%2e%2e/page.py", "static/page.js", "nothing"):
        with pytest.raises(HTTPError) as error:
            urlopen(f"http://127.0.0.1:{port}/flow/{path}")
        assert error.value.code == 404
        error.value.close()


def test_every_file_of_the_page_is_served(port: int) -> None:
    """What the page loads is there, and nothing else lies beside it."""
    from zexchange.contrib.web.page.page import FILES, STATIC

    assert {path.name for path in STATIC.iterdir()} == {"index.html", *FILES}
    for name, kind in FILES.items():
        with urlopen(f"http://127.0.0.1:{port}/flow/{name}") as answer:
            assert answer.headers.get_content_type() == kind
            text = answer.read().decode()
            assert text == (STATIC / name).read_text()
            # Nothing is loaded from elsewhere, and no text becomes markup.
            for word in ("https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval("):
                assert word not in text, name


def test_nodes_are_asked_once_for_all_and_not_without_a_browser(
    port: int, node: zexchange.Node
) -> None:
    """Two browsers get the same looks; after the last one has gone, nobody is asked."""
    with sending(node, "a"):
        with Viewing(port) as one, Viewing(port) as two:
            one.ask("exchanges")
            two.ask("map")
            one.until("exchanges", lambda told: told["rows"])
            two.until("map", lambda told: told["nodes"])
            assert stats(port)["connections"] == 2
            assert stats(port)["asking"] is True
        eventually(lambda: stats(port)["connections"] == 0)
        assert stats(port)["asking"] is False


def test_only_what_is_allowed_is_shown(
    rendezvous: Path, tmp_path: Path, node: zexchange.Node
) -> None:
    """Neither in the table nor in the map nor live; the node does not listen to it."""
    with serving(tmp_path, SECRET) as port, Viewing(port) as browser:
        with sending(node, "open.a", "shut.b"):
            browser.ask("exchanges")
            found = browser.until("exchanges", lambda told: told["rows"])
            assert [row["name"] for row in found["rows"]] == ["open.a"]
            browser.ask("exchange", name="shut.b")
            told = browser.until("exchange")
            assert told == {"fault": "this page may not show this exchange"}
            assert stats(port)["sampled"] == 0
            assert not node.registry.get("shut.b").subscribers
            browser.ask("exchange", name="open.a")
            assert browser.until("tail", lambda tail: tail["lines"])
            assert stats(port)["sampled"] == 1
        browser.ask("map")
        browser.until("map")
        assert stats(port)["sampled"] == 0


def test_each_message_is_shown_or_counted(port: int, node: zexchange.Node) -> None:
    """However fast they come, the lines and those that are left out are all of them."""
    with Viewing(port) as browser:
        browser.ask("exchange", name="fast")
        node.wait_subscribers("fast", 1, timeout=patience())
        exchange = node.registry.get("fast")
        for number in range(5000):
            exchange.send({"number": number})
        lines, skipped, last = 0, 0, ""
        while "4999" not in last:
            tail = browser.until("tail", lambda tail: tail["lines"])
            assert len(tail["lines"]) <= 20
            lines, skipped = lines + len(tail["lines"]), skipped + tail["skipped"]
            last = tail["lines"][-1]["text"]
            assert tail["lines"][-1]["from"] in ("feed", "")
        assert lines + skipped == 5000
        assert skipped
        assert tail["lost"] == 0
        assert sum(number for _, number in tail["sizes"]) <= lines


def texts(told: object) -> Iterator[str]:
    """Yield every text in an object of JSON."""
    if isinstance(told, str):
        yield told
    elif isinstance(told, dict | list):
        for one in told.values() if isinstance(told, dict) else told:
            yield from texts(one)


def test_text_of_peers_is_made_safe(rendezvous: Path, port: int) -> None:
    """Names of exchanges and nodes and values come without control characters."""
    bad = "<b>\x1b[2J\u202e"
    registry = zexchange.Registry()
    with (
        zexchange.federate("pages", label=bad, registry=registry) as node,
        Viewing(port) as browser,
    ):
        with sending(node, f"x.{bad}", message={bad: [bad]}):
            for view in ("map", "exchanges"):
                browser.ask(view)
                told = browser.until(view, lambda told: "<b>" in json.dumps(told))
                for row in told.get("rows", []):
                    del row["name"]  # by which it is asked for, and which is never shown
                assert all(map(str.isprintable, texts(told)))
            browser.ask("exchange", name=f"x.{bad}")
            tail = browser.until("tail", lambda tail: tail["lines"])
            assert all(map(str.isprintable, texts(tail)))
            assert "<b>" in tail["lines"][0]["text"]


def test_a_browser_that_breaks_a_rule_is_cut_off(port: int) -> None:
    """What cannot be asked for, and asking too often, end the connection with a reason."""
    bad = ["{", "[]", "1", '{"number": 1}', '{"number": 1, "view": "x"}', "x" * 5000]
    bad += ['{"number": 1, "view": "exchange"}', '{"number": "1", "view": "map"}']
    for text in bad:
        with Viewing(port) as browser:
            browser.read()
            browser.socket.send(text)
            with pytest.raises(ConnectionClosed) as closed:
                list(iter(browser.read, None))
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4400, text

    def ask_on(browser: Viewing) -> None:
        for _ in range(1000):
            browser.ask("map")
        list(iter(browser.read, None))

    with Viewing(port) as browser, pytest.raises(ConnectionClosed) as closed:
        ask_on(browser)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4429
    eventually(lambda: stats(port)["connections"] == 0)
    assert stats(port)["refused"] == {"malformed": len(bad), "asked": 1}


def test_there_are_only_so_many_connections(
    rendezvous: Path, tmp_path: Path, node: zexchange.Node
) -> None:
    """One more is refused, and gets in when another has gone."""
    with serving(tmp_path, f"token={TOKEN!r}, connections=1") as port:
        with Viewing(port) as browser:
            browser.read()
            refused(port, 4429, "connections")
        eventually(lambda: stats(port)["connections"] == 0)
        with Viewing(port) as browser:
            assert browser.read()["welcome"]


def test_the_diagnosis_is_that_of_the_doctor(port: int, node: zexchange.Node) -> None:
    """The conclusion, the findings and the tables of `zexchange doctor`."""
    with Viewing(port) as browser:

        def diagnosis() -> Any:
            browser.ask("doctor")
            return browser.until("doctor")

        told = eventually(lambda: (found := diagnosis())["healthy"] and found)
        assert "1 peer is ready both ways" in told["conclusion"]
        assert any("feed@" in row[0] for table in told["tables"] for row in table)


def test_arguments_of_a_page_are_checked() -> None:
    """A federation or a node; a token that is one; a pattern that is one."""
    with pytest.raises(TypeError):
        Page(token=None)
    with pytest.raises(ValueError, match="empty token"):
        Page("x", token="")
    with pytest.raises(zexchange.InvalidName):
        Page("x", token=None, allow="a*")

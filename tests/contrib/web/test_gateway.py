"""The gateway at real sockets: what is not allowed is neither in nor out, and nobody is held up."""

import json
import socket
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import pytest
from websockets.exceptions import ConnectionClosed

import zexchange
from tests.contrib.web.servers import ALLOWED, Browser, gateway
from tests.support import eventually, patience
from zexchange.protocol.codec.values import encode

pytestmark = pytest.mark.sockets


def stats(port: int) -> dict:
    with urlopen(f"http://127.0.0.1:{port}/stats") as answer:
        return json.load(answer)


@pytest.fixture
def port(rendezvous: Path, tmp_path: Path):
    with gateway(tmp_path) as port:
        yield port


@pytest.fixture
def node(rendezvous: Path):
    with zexchange.federate("browsers", registry=zexchange.Registry()) as node:
        yield node


@pytest.fixture
def registry(node):
    return node.registry


def refused(port: int, code: int, reason: str, **how) -> None:
    """See a connection refused, with that code, and nothing sent before."""
    before = stats(port)["refused"].get(reason, 0)
    with Browser(port, **how) as browser:
        with pytest.raises(ConnectionClosed) as closed:
            browser.socket.recv(patience())
    assert closed.value.rcvd.code == code
    assert closed.value.rcvd.reason
    assert stats(port)["refused"][reason] == before + 1


def test_who_may_not_connect_gets_and_sends_nothing(port, registry) -> None:
    """Without the token, or of another origin or host: told, counted, and no session."""
    with registry.get("news.a").stream() as said:
        refused(port, 4401, "token", token="")
        refused(port, 4401, "token", token="a token of the tests ")
        refused(port, 4403, "origin", origin="http://evil.example")
        refused(port, 4403, "origin", origin=f"http://127.0.0.1:{port + 1}")
        refused(port, 4403, "origin", origin="null")
        evil = f"evil.example:{port}"
        refused(port, 4403, "origin", origin=f"http://{evil}", host=evil)
        for hello in ("{", "[]", json.dumps({"zexchange": 2}), "[" * 4000, "x" * 5000):
            refused(port, 4400, "malformed", hello=hello)
        with Browser(port) as browser:
            browser.read()
            assert stats(port)["sessions"] == 1
            assert browser.call("send", "news.a", 1)[0] == "done"
        assert said.get(timeout=patience()) == 1
        assert len(said) == 0


def test_what_is_not_allowed_is_refused(port, registry) -> None:
    """Names and patterns that are not covered, groups, and malformed names: nothing comes."""
    everything = registry.match("**").stream(names=True)
    with everything, Browser(port) as browser:
        welcome = browser.read()
        assert welcome[0] == "welcome"
        assert not welcome[3]
        for key in ("**", "*", "news", "secret", "*.**", "news.**.x", "", "a\0"):
            if key == "news":  # `news.**` covers it
                continue
            number = browser.say("attach", 1, key, 0, "")
            assert browser.reply(number)[3] in ("subscribe", "name"), key
        assert browser.call("attach", 1, "news.a", 0, "workers")[3] == "groups"
        assert browser.call("attach", 1, "news.a", 10**6, "")[3] == "history"
        for name in ("secret", "news", "news.a.b", "news.*", "jobs"):
            assert browser.call("send", name, "x")[3] in ("publish", "name"), name
            assert browser.call("request", name, 1.0, "x")[3] in ("publish", "name"), name
        registry.get("secret").send("s")
        assert browser.call("send", "news.a", "last")[0] == "done"
        assert everything.get(timeout=patience()) == ("secret", "s")
        assert everything.get(timeout=patience()) == ("news.a", "last")
        assert not [frame for frame in browser.frames if frame[0] == "message"]
    assert stats(port)["refused"]["subscribe"] == 4


def test_browsers_attach_send_and_request(port, registry) -> None:
    """Messages in both directions, by names and patterns; requests, and their failures."""
    registry.get("sum").responder(sum)
    with Browser(port) as one, Browser(port) as two:
        assert one.call("attach", 1, "news.**", 0, "")[0] == "done"
        assert two.call("attach", 7, "news.a", 0, "")[0] == "done"
        value = {"a": (1, 2.5, {3}), 4: b"x"}
        registry.get("news.a").send(value)
        assert one.message() == two.message() == ["news.a", value]
        assert two.call("send", "news.b", [1])[0] == "done"
        assert one.message() == ["news.b", [1]]
        eventually(lambda: one.call("request", "sum", 5.0, [1, 2, 3])[3] == 6)
        assert one.call("request", "sum", 5.0, None)[3] == "RequestFailed"
        assert one.call("request", "news.a", 5.0, 1)[3] == "NoResponders"
        assert one.call("request", "sum", 1e9, 1)[3] == "timeout"
        assert one.call("detach", 1)[0] == "done"
        assert one.call("detach", 1)[3] == "unknown"


def test_a_frozen_browser_is_bounded_and_told_and_holds_up_nobody(
    rendezvous, registry, tmp_path
) -> None:
    """Others get all messages; it gets the newest, and hears how many it missed."""
    limits = "limits=Limits(window=8, waiting=20)"
    with gateway(tmp_path, f"{ALLOWED}, {limits}") as port:
        with Browser(port) as frozen, Browser(port) as other:
            for browser in frozen, other:
                assert browser.call("attach", 1, "news.**", 0, "")[0] == "done"
            registry.get("news.b").send("b")
            assert other.message() == ["news.b", "b"]
            for number in range(200):
                registry.get("news.a").send(number)
                assert other.message() == ["news.a", number]
            assert stats(port)["missed"] == 201 - 28
            assert stats(port)["waiting"] <= 28 + 2
            came, missed = [], {}
            while not came or came[-1] != 199:
                frame = frozen.read()
                frozen.acknowledge()
                if frame[0] == "missed":
                    missed.update(frame[2])
                    assert frame[3] == 0
                else:
                    came.append(frame[5])
            assert missed == {"news.a": 201 - 28}
            assert came == ["b", *range(7), *range(180, 200)]


def test_a_connection_that_breaks_loses_nothing(port, registry) -> None:
    """The session goes on at the position that the browser has; foreign ids begin a new one."""
    first = Browser(port)
    session = first.read()[2]
    assert first.call("attach", 1, "news.a", 0, "")[0] == "done"
    handled = first.last
    registry.get("news.a").send(1)
    assert first.read()[5] == 1
    received = first.last
    first.say("send", "news.c", "x")
    first.socket.socket.shutdown(socket.SHUT_RDWR)  # without a goodbye
    registry.get("news.a").send(2)
    hello = {"session": session, "received": received, "handled": handled}
    with Browser(port, hello=hello) as second:
        assert second.read()[:4] == ["welcome", 1, session, True]
        frames = [second.read(), second.read()]
        assert sorted(f[0] for f in frames) == ["done", "message"]
        assert next(f for f in frames if f[0] == "message")[5] == 2
        second.acknowledge()
        with Browser(port, hello={**hello, "session": "x" * 32}) as third:
            assert third.read()[3] is False
        with Browser(port, hello={**hello, "received": 99, "handled": 99}) as fourth:
            assert fourth.read()[3] is False


def test_who_breaks_the_protocol_is_cut_off(port) -> None:
    """Frames that are none, out of turn or too large end the session, with a reason."""
    bad = [b"\xc1", b"", "text", encode(["send", 5, "news.a", 1]), encode(["ack", 50])]
    bad += [encode(["huh", 1]), encode([]), encode(1), b"\xdd\xff\xff\xff\xff", b"\x91" * 5000]
    for frame, code in [*((frame, 4400) for frame in bad), (b"\0" * (2 << 20), 4413)]:
        with Browser(port) as browser:
            browser.read()
            with suppress(ConnectionClosed):  # of a large frame it may not read the end
                browser.socket.send(frame)
            with pytest.raises(ConnectionClosed) as closed:
                browser.socket.recv(patience())
            assert closed.value.rcvd.code == code
    eventually(lambda: stats(port)["sessions"] == 0)


def test_limits_of_a_browser(rendezvous, tmp_path) -> None:
    """Subscriptions, requests and replies that are not acknowledged are counted, and refused."""
    limits = "limits=Limits(subscriptions=2, requests=1, replies=10), connections=2"
    with gateway(tmp_path, f"{ALLOWED}, {limits}") as port:
        registry = zexchange.Registry()
        with zexchange.federate("browsers", registry=registry), Browser(port) as browser:
            for id in (1, 2):
                assert browser.call("attach", id, "news.a", 0, "")[0] == "done"
            assert browser.call("attach", 2, "news.a", 0, "")[3] == "id"
            assert browser.call("attach", 3, "news.a", 0, "")[3] == "subscriptions"
            with Browser(port) as second:
                assert second.read()[0] == "welcome"
                refused(port, 4429, "connections")
                with suppress(ConnectionClosed):  # it may be cut off before it has sent all
                    for number in range(20):
                        second.say("send", f"news.{number}", None)
                with pytest.raises(ConnectionClosed) as closed:
                    list(iter(second.read, None))
                assert closed.value.rcvd.code == 4429


def test_history_and_groups(port, node, registry) -> None:
    """A late browser gets what is kept; a job goes to one, and to another if it was not handled."""
    registry.retain("news.kept", 2)
    for number in range(3):
        registry.get("news.kept").send(number)
    with Browser(port) as one, Browser(port) as two:
        assert one.call("attach", 1, "news.kept", 5, "")[0] == "done"
        assert [one.message()[1] for _ in range(2)] == [1, 2]
        one.say("attach", 2, "jobs", 0, "workers")
        while (frame := one.read())[0] != "done":
            pass
        one.acknowledge()
        node.wait_subscribers("jobs", timeout=patience())
        registry.get("jobs").send("work")
        while (frame := one.read())[0] != "message":
            pass
        assert frame[5] == "work"
        assert two.call("attach", 1, "jobs", 0, "workers")[0] == "done"
        one.socket.close()  # a goodbye, without an acknowledgement
        assert two.message() == ["jobs", "work"]


def test_a_member_gets_its_next_job_after_the_one_before(port, node, registry) -> None:
    """Whatever else goes to and fro; what it has not acknowledged counts as not handled."""
    with Browser(port) as one:
        number = one.say("attach", 1, "jobs", 0, "workers")
        while (frame := one.read())[0] != "done" or frame[2] != number:
            pass
        one.acknowledge()
        node.wait_subscribers("jobs", timeout=patience())
        for job in "first", "second":
            registry.get("jobs").send(job)
        frames = []
        while not frames or frames[-1][0] != "message":
            frames.append(one.read())
        for _ in range(20):
            number = one.say("send", "news.a", "still at work")
            while (frame := one.read())[0] != "done" or frame[2] != number:
                frames.append(frame)
        assert [frame[5] for frame in frames if frame[0] == "message"] == ["first"]
        one.acknowledge()
        while (frame := one.read())[0] != "message":
            pass
        assert frame[5] == "second"


def test_a_browser_that_stays_away_is_forgotten(rendezvous, tmp_path) -> None:
    """After `keep` seconds its session is over, and its job goes to another browser."""
    with gateway(tmp_path, f"{ALLOWED}, limits=Limits(keep=0.2)") as port:
        registry = zexchange.Registry()
        with zexchange.federate("browsers", registry=registry) as node:
            one = Browser(port)
            session = one.read()[2]
            assert one.call("attach", 1, "jobs", 0, "workers")[0] == "done"
            node.wait_subscribers("jobs", timeout=patience())
            registry.get("jobs").send("work")
            assert one.read()[5] == "work"
            one.socket.socket.shutdown(socket.SHUT_RDWR)  # without a goodbye
            with Browser(port) as two:
                assert two.call("attach", 1, "jobs", 0, "workers")[0] == "done"
                assert two.message() == ["jobs", "work"]
                assert stats(port)["sessions"] == 1
            with Browser(port, hello={"session": session}) as third:
                assert third.read()[3] is False


def test_one_connection_goes_on_with_a_session(port) -> None:
    """The one before is closed, with a code that tells its page not to try again."""
    with Browser(port) as first:
        session = first.read()[2]
        with Browser(port, hello={"session": session}) as second:
            assert second.read()[2:4] == [session, True]
            with pytest.raises(ConnectionClosed) as closed:
                first.socket.recv(patience())
            assert closed.value.rcvd.code == 4409


def test_a_connection_that_says_nothing_is_closed(rendezvous, tmp_path) -> None:
    """After some seconds; nothing is kept for it."""
    how = f"{ALLOWED})\nimport zexchange.contrib.web.gateway as own\nown.HELLO_TIMEOUT = (0.1"
    with gateway(tmp_path, how) as port:
        with Browser(port, silent=True) as browser, pytest.raises(ConnectionClosed) as closed:
            browser.socket.recv(patience())
        assert closed.value.rcvd.code == 4408
        assert stats(port)["sessions"] == 0
        assert stats(port)["refused"] == {"hello": 1}

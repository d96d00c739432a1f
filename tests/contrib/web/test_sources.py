"""Streams for browsers: shared, encoded once, and bounded; and what a session sends first."""

import asyncio
from collections.abc import Callable

import pytest

from tests.support import Deadline
from zexchange import Registry
from zexchange.contrib.web import frames, sources
from zexchange.contrib.web.queue import Limits
from zexchange.contrib.web.sessions import Session
from zexchange.contrib.web.sources import Feeds


async def until(condition: Callable[[], bool]) -> None:
    deadline = Deadline()
    while not condition():
        assert not deadline.over
        await asyncio.sleep(0)


def test_all_browsers_of_a_name_share_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message is encoded once for them; one that asks for history has its own stream."""
    encoded: list[str] = []
    real = sources.message_tail

    def tail(name, *rest):
        encoded.append(name)
        return real(name, *rest)

    monkeypatch.setattr(sources, "message_tail", tail)

    async def main() -> None:
        registry = Registry()
        feeds = Feeds(registry)
        sessions = [Session(Limits()) for _ in range(5)]
        for session in sessions:
            feeds.attach(session, 1, "news", 0, "")
        registry.get("news").send("hello")
        await until(lambda: all(len(session.queue) for session in sessions))
        assert encoded == ["news"]
        late = Session(Limits())
        feeds.attach(late, 1, "news", 1, "")
        registry.get("news").send("again")
        await until(lambda: len(late.queue) > 0 and all(len(s.queue) == 2 for s in sessions))
        assert encoded == ["news"] * 3
        for session in (*sessions, late):
            session.end()

    asyncio.run(main())


def test_a_busy_event_loop_makes_no_sender_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest messages are dropped, and each browser is told how many."""
    monkeypatch.setattr(sources, "WAITING", 5)

    async def main() -> None:
        registry = Registry()
        feeds = Feeds(registry)
        session = Session(Limits())
        feeds.attach(session, 1, "news", 0, "")
        for number in range(20):  # on the thread of the loop, which reads nothing meanwhile
            registry.get("news").send(number)
        await until(lambda: session.queue.missed == 15)
        session.end()

    asyncio.run(main())


def test_a_ping_is_answered_while_the_window_is_full() -> None:
    """The browser may have much to do, and the connection is alive all the same."""
    session = Session(Limits(window=1))
    session.done(1)
    session.done(2)
    assert session.take() is not None
    assert session.take() is None
    session.pinged()
    assert session.take() == frames.PONG
    assert session.take() is None

"""The queue of one browser, without sockets: nothing is lost, repeated or kept without a count."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zexchange.contrib.web import Limits, frames
from zexchange.contrib.web.queue import NAMES_MOST, OVERHEAD, ClientQueue
from zexchange.protocol.codec.values import decode

SMALL = Limits(window=3, waiting=4, waiting_bytes=8 * (OVERHEAD + 20), replies=5)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("message"), st.sampled_from("abc")),
        st.tuples(st.just("owed"), st.none()),
        st.tuples(st.just("miss"), st.integers(1, 5) | st.none()),
        st.tuples(st.just("take"), st.none()),
        st.tuples(st.just("handle"), st.integers(1, 4)),
        st.tuples(st.just("cut"), st.integers(0, 4)),
    ),
    max_size=60,
)


class Browser:
    """What the other end sees: frames in transit, received and handled."""

    def __init__(self) -> None:
        self.queue = ClientQueue(SMALL, frames.missed)
        self.transit: list[list] = []
        self.received: list[list] = []
        self.handled = 0

    def frame(self, text: str):
        return lambda position: frames.message(
            position, 1, frames.message_tail(text, 0.0, None, {})
        )

    def step(self, kind: str, what: object, sent: Counter) -> None:
        queue = self.queue
        if kind == "message":
            sent[what] += 1
            queue.add(self.frame(what), what)
        elif kind == "owed":
            sent["owed"] += 1
            queue.add(self.frame("owed"))
        elif kind == "miss":
            sent["gone"] += what or 0
            queue.miss("gone", what)
        elif kind == "take":
            if (frame := queue.take()) is not None:
                self.transit.append(decode(frame))
        elif kind == "handle":
            self.arrive(len(self.transit))
            self.handled = min(self.handled + what, len(self.received))
            if self.handled:
                queue.acknowledge(self.received[self.handled - 1][1])
        else:  # the connection breaks: only the first few of those in transit arrive
            self.arrive(what)
            self.transit.clear()
            position = [0, *(frame[1] for frame in self.received)]
            queue.resume(position[-1], position[self.handled])

    def arrive(self, number: int) -> None:
        self.received += self.transit[:number]
        del self.transit[:number]


@given(STEPS)
def test_each_message_comes_once_and_in_order_or_is_counted(steps) -> None:
    """Whatever breaks and overflows, what came and what is told as missed is what was sent."""
    browser, sent = Browser(), Counter()
    for kind, what in [*steps, ("cut", 99), *[("take", None), ("handle", 99)] * 200]:
        browser.step(kind, what, sent)
    assert len(browser.queue) == browser.queue.size == 0
    positions = [frame[1] for frame in browser.received]
    assert positions == sorted(set(positions))
    got: Counter = Counter()
    unknown = any(kind == "miss" and what is None for kind, what in steps)
    for frame in browser.received:
        if frame[0] == "missed":
            assert frame[3] == 0
            got.update({name: number or 0 for name, number in frame[2].items()})
            assert unknown or None not in frame[2].values()
        else:
            got[frame[3]] += 1
    if unknown:  # a sum with something unknown is unknown
        del got["gone"], sent["gone"]
    assert +got == +sent


@given(STEPS)
def test_the_queue_is_bounded(steps) -> None:
    """By count and bytes: what is droppable waits within the limits, what is owed is cut off."""
    browser, sent = Browser(), Counter()
    owed = 0
    for kind, what in steps:
        browser.step(kind, what, sent)
        owed = sent["owed"]
        kept = SMALL.waiting + SMALL.window + owed + 2
        assert len(browser.queue) <= kept * 2
        assert browser.queue.size <= SMALL.waiting_bytes + (owed + SMALL.window + 2) * 300
        if owed <= SMALL.replies - SMALL.window:
            assert not browser.queue.full


def test_what_is_owed_is_never_dropped() -> None:
    """Replies are not dropped for messages; too many of them are noted."""
    queue = ClientQueue(SMALL, frames.missed)
    for _ in range(SMALL.replies + 1):
        assert not queue.full
        queue.add(lambda position: b"reply")
    for _ in range(100):
        queue.add(lambda position: b"message", "a")
    assert queue.full
    assert queue.missed >= 96


@pytest.mark.parametrize("position", [1, 2, 10**30])
def test_a_position_that_was_not_sent_is_refused(position) -> None:
    """An acknowledgement of what never went out is an error of the browser."""
    queue = ClientQueue(SMALL, frames.missed)
    if position == 2:
        queue.add(lambda position: b"x", "a")
        assert queue.take() == b"x"
    queue.add(lambda position: b"x", "a")
    with pytest.raises(ValueError, match="was not sent"):
        queue.acknowledge(position)
    with pytest.raises(ValueError, match="was not sent"):
        queue.resume(position, 0)


def test_a_notice_names_so_many_exchanges() -> None:
    """The rest is counted together: names that come without end fill no memory."""
    queue = ClientQueue(Limits(waiting=0), frames.missed)
    for number in range(NAMES_MOST + 5):
        queue.add(lambda position: b"", f"n.{number}")
    notice = decode(queue.take())
    assert len(notice[2]) == NAMES_MOST
    assert notice[3] == 5
    assert queue.take() is None

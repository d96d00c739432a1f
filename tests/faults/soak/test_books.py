"""The books and the plan of a soak: they find each kind of error, and a seed decides all."""

import random
from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from .books import Book, Doubt, Message
from .checks import BEFORE, BEHIND, STEADY, alone
from .plan import MOST, Step, draw

SENDER = "s.1"


def came(book: Book, *numbers: int, unnumbered: int = 0, name: str = "x") -> list[str | Doubt]:
    """Book messages, the nth of which was sent at n, and return what is wrong."""
    return [
        news
        for n in numbers
        for news in book.come(SENDER, name, n, Message("s.1", n + unnumbered, n, n - 1))
    ]


def doubts(news: list[str | Doubt]) -> list[tuple[str, float, float]]:
    return [(d.what, d.since, d.until) for d in news if isinstance(d, Doubt)]


def test_what_comes_in_order_or_is_lost_is_well() -> None:
    """Messages in order, and holes that are reported in their place, are no faults."""
    book = Book("x")
    assert came(book, 3, 4) == []
    assert book.miss(SENDER, "x", 5, 7) == []
    assert came(book, 8) == []
    assert book.sums()["lost"] == 3


def test_each_error_is_told_when_it_comes_up() -> None:
    """A silent hole, a repetition, a report of what came: each is told once."""
    book = Book("x")
    assert came(book, 1, 4) == ["at 4: silent [(2, 3)], 0 twice, 0 out of order"]
    assert came(book, 5) == []
    assert came(book, 5) == ["at 5: silent [(2, 3)], 1 twice, 0 out of order"]
    assert len(book.miss(SENDER, "x", 5, 6)) == 1
    assert book.come(SENDER, "x", 7, Message("t", 7, 7, 6)) == ["7 is t's 7: 0 unnumbered"]


def test_what_another_federation_had_promised_may_be_told_late() -> None:
    """That is no error where it was before all that came; else it is."""
    book = Book("x")
    assert came(book, 5) == []
    assert book.miss(SENDER, "x", 3, 4, late=True) == []
    assert book.sums() == {"received": 1, "lost": 2, "silent": 0, "duplicates": 0, "disorder": 0}
    assert len(book.miss(SENDER, "x", 5, 5, late=True)) == 1


def test_a_stream_does_not_begin_with_what_another_one_had() -> None:
    """What came to an earlier stream of the node does not come to a later one."""
    assert came(Book("x", floors={(SENDER, "x"): 4}), 5) == []
    assert len(came(Book("x", floors={(SENDER, "x"): 4}), 4)) == 1


def test_a_promise_is_remembered() -> None:
    """A stream begins no later than with the first message sent after it was ready."""
    book = Book("x", promised={SENDER: 4.5})
    assert came(book, 5) == []
    book = Book("x", promised={SENDER: 4.5})
    assert doubts(came(book, 6)) == [("begins at 6", 4.5, 6)]


def test_messages_without_a_number_are_for_a_judge() -> None:
    """Where a sender's own count goes ahead of the numbers, it has to have been alone."""
    book = Book("x")
    came(book, 1, 2)
    assert doubts(came(book, 3, unnumbered=10)) == [("10 unnumbered before 3", 2, 3)]


def test_an_exchange_may_start_with_a_loss_above_what_its_sender_has_forgotten() -> None:
    """Its first number is high then; yet no more have numbers than its sender has counted."""

    def after_loss_of_44(own: int) -> list[str | Doubt]:
        book = Book("x")
        assert book.miss(SENDER, "x", 44, 44) == []
        return book.come(SENDER, "x", 45, Message("s.1", own, 2, 1))

    assert after_loss_of_44(own=2) == []
    assert after_loss_of_44(own=1) == ["45 is s.1's 1: -43 unnumbered"]


def test_a_sender_is_alone_until_it_knows_the_steady_receiver_and_while_it_has_left() -> None:
    """From its own events, whose times may be wrong by as long as a process was stopped."""
    sender: Any = SimpleNamespace(label="s", name="s.1")

    def spans(*events: tuple[float, str], steps: Sequence[Step] = ()) -> list[tuple[float, float]]:
        rows = [(at, "s.1", {"event": e, "who": f"{STEADY}.1", "peer": "p"}) for at, e in events]
        return list(alone(sender, rows, steps, 0.0))

    assert spans() == [(0.0, float("inf"))]
    assert spans((1.0, "PeerJoined")) == [(0.0, 1.0 + BEHIND)]
    came_back = spans((1.0, "PeerJoined"), (50.0, "PeerLeft"), (60.0, "PeerJoined"))
    assert came_back[1:] == [(50.0 - BEFORE, 60.0 + BEHIND)]
    stop = Step(30.0, "stop", "s", 20.0)
    assert spans((1.0, "PeerJoined"), (51.0, "PeerLeft"), steps=[stop])[1][0] == 31.0 - BEFORE


def test_what_is_not_here_in_the_end_is_missing() -> None:
    """A stream has to reach the heads of what it covers, if it is owed that."""
    book = Book("x")
    came(book, 1, 2)
    assert book.lacks({SENDER: {"x": 2, "y": 9}}, set(), lambda name: name == "x") == []
    assert len(book.lacks({SENDER: {"x": 3}}, set(), lambda name: True)) == 1
    assert len(book.lacks({SENDER: {"y": 1}}, {"y"}, lambda name: True)) == 1
    assert book.lacks({SENDER: {"y": 1}}, set(), lambda name: True) == []


def test_names_that_are_used_no_more_are_closed() -> None:
    """Their sums are kept; what had losses stays, to be compared with what the node tells."""
    book = Book("**")
    came(book, 1, 2, name="old")
    came(book, 1, 2, 3, name="lossy")
    book.miss(SENDER, "lossy", 4, 5)
    came(book, 1, 20, name="young")
    sums = book.sums()
    book.retire(10.0, lambda name: True)
    assert {name for _, name in book.sheets} == {"lossy", "young"}
    assert book.sums() == sums
    book.retire(10.0, lambda name: True, lossy=True)
    assert {name for _, name in book.sheets} == {"young"}
    assert book.sums() == sums


def test_a_seed_decides_everything() -> None:
    """One seed is one plan; stops are of many lengths, and nothing overlaps on one process."""

    def plan(seed: int) -> list[Step]:
        return draw(random.Random(seed), 180, ["a", "h"], ["a", "b"], {"a": 2, "h": 3})

    assert plan(1) == plan(1) != plan(2)
    stops = [step for seed in range(50) for step in plan(seed) if step.harm == "stop"]
    assert min(step.span for step in stops) < 0.2
    assert 30 < max(step.span for step in stops) <= MOST
    for seed in range(20):
        of_a = [s for s in plan(seed) if s.whom == "a" and s.harm in ("stop", "kill")]
        assert all(one.until <= other.at for one, other in pairwise(of_a)), (
            "one process suffers one thing at a time"
        )

"""The life of a request at the asker: the responders, the open outcomes, and the late ones.

A *question* is one request that is under way. It goes to one responder, which `choose` picks, or to
all that are there. The question waits for each of them until one of these things happens:

    waits --answer--> answered         its outcome is the reply, or the error that was raised
          --lost----> answered         its outcome says that the responder has gone
          --drop----> forgotten        the asker has given up: the time is over, or it was cancelled

When nobody is waited for any longer, the question is forgotten at once, so that a request takes no
memory after its answer. An outcome that comes for a question, or a responder, that is not waited
for is *late*: it is dropped and counted.

Both floors above use this: requests inside a process need no federation, and with one the same
choice is made among local and remote responders. It knows no threads and no clocks; the time is an
argument.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from typing import Any, Generic, Literal, NamedTuple, TypeVar, cast

R = TypeVar("R", bound=Hashable)


class Outcome(NamedTuple):
    """The end of a question at one responder.

    It is no frozen dataclass like other values that flow, because that takes three times as long
    to make, and the caller of a request waits for it.

    Attributes:
        kind: ``"value"``: it has answered. ``"failed"``: it has raised. ``"lost"``: it has gone.
        value: the answer.
        error: the name of the type of what it raised.
        text: the text of what it raised, or the reason why it has gone.
        cause: the exception, if it was raised in this process.
    """

    kind: Literal["value", "failed", "lost"]
    value: object = None
    error: str = ""
    text: str = ""
    cause: BaseException | None = None


new_outcome = cast(
    Callable[[tuple[str, object, str, str, BaseException | None]], Outcome],
    partial(cast(Any, tuple).__new__, Outcome),
)
"""Makes an outcome of all its fields without a call in Python."""


class Question(Generic[R]):
    """One request that is under way.

    Attributes:
        number: tells it apart from all others of the same asker; 0 before it has begun.
        waits_for: the responders whose outcome is still to come.
        outcomes: what has come and was not taken yet, in order.
        until: the time at which it is forgotten in any case.
        bell: by what its caller waits; nothing here uses it.
    """

    __slots__ = ("bell", "number", "outcomes", "until", "waits_for")

    def __init__(self, responders: Iterable[R], until: float, bell: Any = None) -> None:
        self.number = 0
        self.waits_for = dict.fromkeys(responders)
        self.outcomes: list[tuple[R, Outcome]] = []
        self.until = until
        self.bell = bell


class Questions(Generic[R]):
    """The questions of one asker that are under way, and which of them each responder has."""

    # An exception, as of a signal handler, may end any of these calls between two steps. What it
    # leaves behind has a time in it, and goes with `expire`.

    def __init__(self) -> None:
        self.late = 0
        """How many outcomes came that nobody waited for."""
        self._numbers = 0
        self._open: dict[int, Question[R]] = {}
        self._asked: dict[R, dict[int, Question[R]]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, number: object) -> bool:
        return number in self._open

    def under_way(self, responder: R) -> int:
        """Return how many questions wait for a responder."""
        return len(self._asked.get(responder, ()))

    @property
    def waited_for(self) -> tuple[R, ...]:
        """The responders that some question waits for."""
        return tuple(self._asked)

    def choose(self, responders: Sequence[R], last: R | None) -> R:
        """Return the responder to ask: the least busy, in turn among equals.

        Args:
            responders: those that are there, at least one, always in the same order.
            last: the one that was chosen before, if any: the turn begins after it.
        """
        if len(responders) == 1:
            return responders[0]
        busy = [self.under_way(one) for one in responders]
        after = responders.index(last) + 1 if last is not None and last in responders else 0
        turn = (*range(after, len(busy)), *range(after))
        at: int = min(turn, key=busy.__getitem__)  # the first of the least busy
        return responders[at]

    def ask(self, question: Question[R]) -> None:
        """Begin a question to some responders, at least one; it gets its number."""
        number = question.number = self._numbers = self._numbers + 1
        self._open[number] = question
        for one in question.waits_for:
            asked = self._asked.get(one)
            if asked is None:
                asked = self._asked[one] = {}
            asked[number] = question

    def answer(self, number: int, responder: R, outcome: Outcome) -> Question[R] | None:
        """Take an outcome; return its question, or None if it comes too late."""
        question = self._open.get(number)
        if question is None or responder not in question.waits_for:
            self.late += 1
            return None
        question.outcomes.append((responder, outcome))
        self._settle(question, responder)
        return question

    def lost(self, responder: R, reason: str) -> list[Question[R]]:
        """Take note that a responder has gone; return the questions that waited for it."""
        waiting = list(self._asked.get(responder, {}).values())
        for question in waiting:
            question.outcomes.append((responder, Outcome("lost", text=reason)))
            self._settle(question, responder)
        return waiting

    def drop(self, question: Question[R]) -> None:
        """Forget a question whose asker gave up; later outcomes are late."""
        for one in list(question.waits_for):
            self._settle(question, one)
        self._open.pop(question.number, None)

    def expire(self, now: float) -> None:
        """Forget the questions whose time is over, in case that their askers are gone."""
        known = {q.number: q for asked in self._asked.values() for q in asked.values()}
        for question in (known | self._open).values():
            if question.until <= now:
                self.drop(question)

    def _settle(self, question: Question[R], responder: R) -> None:
        """Wait for a responder no longer."""
        question.waits_for.pop(responder, None)
        asked = self._asked.get(responder)
        if asked is not None:
            asked.pop(question.number, None)
            if not asked:
                self._asked.pop(responder, None)
        if not question.waits_for:
            self._open.pop(question.number, None)

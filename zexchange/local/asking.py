"""The requests of one registry that are under way, and who answers elsewhere.

Any thread may call this. Callers are woken outside the lock. `questions` decides about the state of
a request; nothing here knows how its caller waits, except for the bell that wakes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..questions import Outcome, Question, Questions
from .process.fork import Lock, track
from .tasks.bell import Bell
from .tasks.responder import Responder

SWEEP_EVERY = 1.0
"""Seconds between two looks for requests whose callers have vanished."""


@dataclass(frozen=True, slots=True, eq=False)
class Elsewhere:
    """A process that answers the questions of an exchange, as a peer in one federation.

    There is one object for each, so that it is told apart by identity: that takes no call.

    Attributes:
        federation: stands for the federation, by identity.
        node: the id of the peer.
        label: a text for people.
        process: the same in all federations of that process.
    """

    federation: object
    node: bytes
    label: str
    process: bytes


Asked = Responder | Elsewhere
"""One that may be asked."""


class Asking:
    """The requests of one registry that are under way."""

    def __init__(self) -> None:
        self._lock = Lock()
        track(self)._after_fork()

    def _after_fork(self) -> None:
        """Forget the requests of the parent."""
        self._questions = Questions[Asked]()
        self._hopeful: tuple[Bell, ...] = ()
        self._sweep_at = 0.0

    @property
    def late(self) -> int:
        """How many answers came that nobody waited for any longer."""
        return self._questions.late

    def __len__(self) -> int:
        return len(self._questions)

    def waited_for(self) -> tuple[Asked, ...]:
        """Return the responders that somebody waits for."""
        return self._questions.waited_for if self._questions else ()

    def choose(self, there: Sequence[Asked], last: Asked | None) -> Asked:
        """Return the responder to ask, of those that are there."""
        with self._lock.lock:
            return self._questions.choose(there, last)

    def begin(self, question: Question[Asked], now: float) -> None:
        """Begin a question, whose bell rings with each outcome; ``now`` is the time.

        If an exception ends this, the caller drops the question as it would any other.
        """
        with self._lock.lock:
            if now >= self._sweep_at:
                self._sweep_at = now + SWEEP_EVERY
                self._questions.expire(now)
            self._questions.ask(question)

    def answered(self, number: int, responder: Asked, outcome: Outcome) -> None:
        """Take the outcome of a question at a responder."""
        with self._lock.lock:
            question = self._questions.answer(number, responder, outcome)
        if question is not None:
            question.bell.ring()

    def lost(self, responder: Asked, reason: str) -> None:
        """Take note that a responder has gone, and does not answer any longer."""
        if responder not in self._questions.waited_for:
            return
        with self._lock.lock:
            lost = self._questions.lost(responder, reason)
        for question in lost:
            question.bell.ring()

    def drop(self, question: Question[Asked]) -> None:
        """Forget a question whose caller waits no longer."""
        with self._lock.lock:
            self._questions.drop(question)

    # ------------------------------------------------------- waiting for a responder to come

    def hope(self, bell: Bell) -> None:
        """Have a bell ring whenever a responder may have come."""
        with self._lock.lock:
            self._hopeful = (*self._hopeful, bell)

    def despair(self, bell: Bell) -> None:
        """Undo `hope`."""
        with self._lock.lock:
            self._hopeful = tuple([other for other in self._hopeful if other is not bell])

    def came(self) -> None:
        """Take note that a responder has come, here or elsewhere. Any thread, with any lock."""
        for bell in self._hopeful:
            bell.ring()

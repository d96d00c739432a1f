"""Changes of our own interest, between the threads that attach and the two of a node.

The control thread tells peers of a change; the data thread follows it: it drops where it stands
with what is wanted no more. A task may be attached a moment after another was detached, and what
arrives is handed to whoever is attached. If the data thread dropped its places after that, the new
task would have got some messages by the old promise, and then a hole without a word. So a change
that drops keys is made by the data thread alone, between two frames, out of all steps there are:
whatever was attached until then is in the same change, by which a name that is wanted on is
followed on. What is attached after it gets nothing until a peer has promised it anew.
"""

import threading
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

from .interest import OwnInterest

T = TypeVar("T")


class Change(NamedTuple):
    """One epoch of our interest, and what is different from the one before."""

    epoch: int
    added: tuple[str, ...]
    removed: tuple[str, ...]


class Changes:
    """Steps of what local tasks want, made into changes; each thread takes all, in order."""

    def __init__(self) -> None:
        self._steps: deque[tuple[str, bool]] = deque()
        self._open: dict[str, bool] = {}
        """The last step of each key that no change was made of."""
        self._interest = OwnInterest()
        self._lock = threading.Lock()
        self._to_follow = deque([Change(self._interest.epoch, (), ())])
        self._to_tell: deque[Change] = deque()

    @property
    def pending(self) -> bool:
        """Whether there are steps, or changes, that the control thread has not looked at."""
        return bool(self._steps or self._to_tell)

    @property
    def settled(self) -> bool:
        """Whether nothing waits for any thread."""
        return not (self._steps or self._open or self._to_tell or self._to_follow)

    def step(self, key: str, wanted: bool) -> None:
        """Note that local tasks began, or ceased, to want a name or pattern. Any thread."""
        self._steps.append((key, wanted))

    def make(self, dropping: bool) -> None:
        """Make a change of the steps there are; of those that drop a key only if ``dropping``.

        ``dropping`` is for the thread that hands on what arrives, while it hands on nothing.
        """
        with self._lock:
            self._open.update(_all(self._steps))
            steps = self._open
            self._open = {} if dropping else {k: w for k, w in steps.items() if not w}
            change = self._interest.change((k, w) for k, w in steps.items() if w or dropping)
            if change is not None:
                added, removed = map(tuple, change)
                self._note(Change(self._interest.epoch, added, removed))

    def renew(self) -> None:
        """Make a new epoch that changes nothing."""
        with self._lock:
            self._interest.epoch += 1
            self._note(Change(self._interest.epoch, (), ()))

    def to_follow(self) -> Iterator[Change]:
        """Yield each change once, for the data thread."""
        return _all(self._to_follow)

    def to_tell(self) -> Iterator[Change]:
        """Yield each change once, for the control thread."""
        return _all(self._to_tell)

    def _note(self, change: Change) -> None:
        self._to_follow.append(change)
        self._to_tell.append(change)


def _all(queue: deque[T]) -> Iterator[T]:
    while queue:
        yield queue.popleft()

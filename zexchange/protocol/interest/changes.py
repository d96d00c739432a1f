"""Changes of our own interest, passed from threads that attach tasks to the two threads of a node.

The control thread tells peers of a change. The data thread follows it: it drops its positions on
exchanges that are no longer wanted. A task may be attached just after another one was detached,
and arriving messages go to the tasks that are attached. If the data thread dropped a position
after that, the new task would get some messages by the old promise, and then miss others without
a report. So only the data thread makes a change that drops keys, between two frames and from all
steps so far. A task that was attached before is part of the same change, and a name that is still
wanted stays tracked. A task that is attached later gets nothing until a peer promises it again.
"""

import threading
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

from .interest import OwnInterest

T = TypeVar("T")


class Change(NamedTuple):
    """One epoch of our interest, and the keys in which it differs from the one before."""

    epoch: int
    added: tuple[str, ...]
    removed: tuple[str, ...]


class Changes:
    """Makes changes of interest from steps of local tasks; two threads each take all, in order."""

    def __init__(self) -> None:
        self._steps: deque[tuple[str, bool]] = deque()
        self._open: dict[str, bool] = {}
        """By key, the last step of which no change was made yet."""
        self._interest = OwnInterest()
        self._lock = threading.Lock()
        self._to_follow = deque([Change(self._interest.epoch, (), ())])
        self._to_tell: deque[Change] = deque()

    @property
    def pending(self) -> bool:
        """Whether there are steps or changes that the control thread has not taken."""
        return bool(self._steps or self._to_tell)

    @property
    def settled(self) -> bool:
        """Whether nothing waits for any thread."""
        return not (self._steps or self._open or self._to_tell or self._to_follow)

    def step(self, key: str, wanted: bool) -> None:
        """Note that local tasks began, or ceased, to want a name or pattern. Any thread."""
        self._steps.append((key, wanted))

    def make(self, dropping: bool) -> None:
        """Make a change from the steps so far; from those that drop a key only if ``dropping``.

        Only the data thread, which hands on messages, may pass ``dropping``, between two frames.
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

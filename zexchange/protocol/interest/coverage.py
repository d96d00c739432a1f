"""The keys that a peer wanted before: a name may be wanted without a break, under several in turn.

They are needed only until the peer has confirmed a later epoch. Nothing here knows what the peer
was promised.
"""

from collections.abc import Iterable, Mapping

from ...names import is_pattern, matches

MAX_FORMER = 10_000
"""The most ended keys that are remembered while a peer does not confirm a later epoch."""


class FormerKeys:
    """The keys of one peer that have ended, by the epoch in which they ended."""

    __slots__ = ("_blurred", "_many", "_spans")

    def __init__(self) -> None:
        self._spans: list[tuple[int, dict[str, int]]] = []
        self._many = 0
        self._blurred = 0
        """The epoch up to which there were too many: every name is taken as wanted until then."""

    def end(self, epoch: int, since: dict[str, int]) -> None:
        """Note keys that end in an epoch. ``since`` has the epoch in which each began."""
        if since:
            self._spans.append((epoch, since))
            self._many += len(since)
        if self._many > MAX_FORMER:
            self._spans, self._many, self._blurred = [], 0, epoch

    def confirmed(self, epoch: int) -> None:
        """Forget keys that ended up to an epoch, because the peer has seen the ready of it."""
        self._spans = [(end, since) for end, since in self._spans if end > epoch]
        self._many = sum(len(since) for _, since in self._spans)
        if epoch >= self._blurred:
            self._blurred = 0

    def until(self, name: str, epoch: int) -> int:
        """Return the epoch up to which a name was wanted without a break from an epoch on."""
        epoch = max(epoch, self._blurred)
        for end, since in self._spans:
            if end > epoch and began(name, since, since, epoch):
                epoch = end
        return epoch


def began(name: str, since: Mapping[str, int], keys: Iterable[str], epoch: int) -> bool:
    """Return whether a name was wanted in an epoch, by the epochs in which keys began.

    Args:
        name: the name.
        since: by key, the epoch in which it began.
        keys: the keys that are looked at for patterns that cover the name.
        epoch: the epoch.
    """
    if since.get(name, epoch + 1) <= epoch:
        return True
    return any(since[key] <= epoch and is_pattern(key) and matches(key, name) for key in keys)

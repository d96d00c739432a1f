"""What a peer wanted before: by that a name is wanted all the time, under one key after another.

Only needed for as long as the peer has not confirmed what came after. Nothing here knows
what it was promised.
"""

from collections.abc import Iterable, Mapping

from ...names import is_pattern, matches

MAX_FORMER = 10_000
"""Keys remembered that have ended, for as long as a peer confirms nothing that came after."""


class FormerKeys:
    """The keys of one peer that have ended, by the epoch in which they did."""

    __slots__ = ("_blurred", "_many", "_spans")

    def __init__(self) -> None:
        self._spans: list[tuple[int, dict[str, int]]] = []
        self._many = 0
        self._blurred = 0
        """Up to which epoch there were too many: everything is taken to be wanted until then."""

    def end(self, epoch: int, since: dict[str, int]) -> None:
        """Note keys that end in an epoch, and in which each began."""
        if since:
            self._spans.append((epoch, since))
            self._many += len(since)
        if self._many > MAX_FORMER:
            self._spans, self._many, self._blurred = [], 0, epoch

    def confirmed(self, epoch: int) -> None:
        """Forget what nobody asks for once a peer has seen the ready of an epoch."""
        self._spans = [(end, since) for end, since in self._spans if end > epoch]
        self._many = sum(len(since) for _, since in self._spans)
        if epoch >= self._blurred:
            self._blurred = 0

    def until(self, name: str, epoch: int) -> int:
        """Return up to which epoch a name was wanted all the time from an epoch on."""
        epoch = max(epoch, self._blurred)
        for end, since in self._spans:
            if end > epoch and began(name, since, since, epoch):
                epoch = end
        return epoch


def began(name: str, since: Mapping[str, int], keys: Iterable[str], epoch: int) -> bool:
    """Return whether one of some keys covers a name that began in an epoch, or before it."""
    if since.get(name, epoch + 1) <= epoch:
        return True
    return any(since[key] <= epoch and is_pattern(key) and matches(key, name) for key in keys)

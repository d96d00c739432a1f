"""What peers have to acknowledge before somebody goes on who waits for it.

That is looked at after every turn of the control thread, mostly in vain, and there may be
thousands of exchanges: so a look begins where the last one has found something missing. Nothing
here knows what it means that an exchange lacks something.
"""

from collections.abc import Callable, Mapping
from itertools import chain


class Goal:
    """The heads of exchanges as they were at one moment, and where each peer was found to lag."""

    def __init__(self, heads: Mapping[str, int]) -> None:
        self.heads = dict(heads)
        self._names = list(heads)
        self._at: dict[bytes, int] = {}

    def missed(self, peer: bytes, lacks: Callable[[str], bool]) -> bool:
        """Return whether a peer lacks something of an exchange.

        Args:
            peer: that is looked at.
            lacks: tells of an exchange whether it does.
        """
        names, at = self._names, self._at.get(peer, 0)
        for place in chain(range(at, len(names)), range(at)):
            if lacks(names[place]):
                self._at[peer] = place
                return True
        return False

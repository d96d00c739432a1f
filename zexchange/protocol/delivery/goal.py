"""The messages that peers have to acknowledge before a waiting caller goes on.

This is checked after every turn of the control thread, usually in vain, and there may be thousands
of exchanges. So a check begins with the exchange at which the last one found something missing.
The caller defines what missing means.
"""

from collections.abc import Callable, Mapping
from itertools import chain


class Goal:
    """The heads of exchanges at one moment, and where each peer was last found to lack messages."""

    def __init__(self, heads: Mapping[str, int]) -> None:
        self.heads = dict(heads)
        self._names = list(heads)
        self._at: dict[bytes, int] = {}

    def missed(self, peer: bytes, lacks: Callable[[str], bool]) -> bool:
        """Return whether a peer lacks messages of any exchange.

        Args:
            peer: the id of the peer.
            lacks: returns whether the peer lacks messages of an exchange.
        """
        names, at = self._names, self._at.get(peer, 0)
        for place in chain(range(at, len(names)), range(at)):
            if lacks(names[place]):
                self._at[peer] = place
                return True
        return False

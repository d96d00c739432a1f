"""How many may be peers, and how fast they become it: each costs sockets and descriptors.

Ids are for free, so whoever makes them up must not keep out who is there. Who cannot be
taken now says hello again; who cannot be taken at all is told so.
"""

from collections.abc import Callable
from typing import Any

from ..rate_limit import TokenBucket
from ..wire.messages import Hello, Refuse
from .peers import Peer
from .state import SessionState

ADMITTED_AT_ONCE, ADMITTED_A_SECOND = 256, 64
"""New peers taken: each costs sockets. Whoever has to wait says hello again in a second."""
INTRODUCED = 4, 1
"""New peers that one connection may bring, at once and a second: a node brings itself."""


class Admission:
    """Judges who is new.

    Args:
        core: who we are and whom we know.
        most_peers: how many there are descriptors for.
        left: lets a peer go, for a reason.
    """

    def __init__(
        self, core: SessionState, most_peers: int, left: Callable[[Peer, str, float], None]
    ) -> None:
        self._core = core
        self._most_peers = most_peers
        self._left = left
        self._admitted = TokenBucket(ADMITTED_AT_ONCE, ADMITTED_A_SECOND)
        self._introduced = TokenBucket(*INTRODUCED)

    def room_for(self, hello: Hello, route: Any, link: str | None, now: float) -> bool:
        """Tell whether there is room for a peer; if not for long, tell it so."""
        core, peers = self._core, self._core.members.peers
        if hello.sender in peers:
            return True
        # First by whom it comes: one that makes nodes up takes no place of others'.
        if not self._introduced.take(route or link, 1, now):
            core.reject("hello", "more newcomers by one connection than are taken")
            return False
        if not self._admitted.take("", 1, now):
            core.reject("hello", "more newcomers than are taken at a time")
            return False
        if len(peers) >= self._most_peers:
            idle = self._core.members.unproven(now)
            if idle is None:
                text = f"this node has {len(peers)} peers and takes no more"
                if route is not None:
                    core.refuse(route, Refuse(core.me, "full", text), now)
                core.reject(str(hello.label), "full", f"{text}: raise its limit of open files")
                return False
            self._left(idle, "crowded out", now)
        return True

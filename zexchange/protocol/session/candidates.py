"""Endpoints that may lead to nodes: dialled, and sent hellos until a node welcomes or refuses us.

Every step may come twice or not at all. `peering` decides which nodes become peers.
"""

from collections.abc import Collection

from ..wire.envelopes import node_at
from ..wire.messages import Refuse
from .effects import CloseLink, Dial, Probe, Redial, Send
from .peers import (
    CANDIDATE_PROBE_EVERY,
    CHANCE,
    FORGET_AFTER,
    HELLO_EVERY,
    REFUSED_RETRY,
    UNANSWERED_AFTER,
    Candidate,
    State,
)
from .state import SessionState


class Candidates:
    """The endpoints that one node dials and says hello to."""

    def __init__(self, core: SessionState) -> None:
        self._core = core
        self._all = core.members.candidates
        self._given = core.given

    def add(self, endpoint: str, source: str, now: float, key: bytes = b"") -> bool:
        """Dial an endpoint, unless it is dialled already, is ours, or leads to a peer.

        Returns:
            Whether there was room for it.
        """
        if any(endpoint == address.control for address in self._core.addresses):
            self._given.answered(endpoint)
            return True
        candidate = self._all.get(endpoint)
        if candidate is None and source in ("gossip", "lan") and not self._room(now):
            self._core.reject(source, "more endpoints than are dialled at a time")
            return False
        if candidate is None:
            candidate = Candidate(endpoint, source, now, now, now + UNANSWERED_AFTER, now)
            candidate.key = key
            self._all[endpoint] = candidate
            self._core.do(Dial(endpoint, key))
            node = node_at(endpoint)
            if node is None or self._core.me < node:
                self._greet(candidate, now)
            else:  # hubs tell both nodes of each other, so it is enough that one says hello
                candidate.hello_at = candidate.probe_at = now + HELLO_EVERY
        else:
            if candidate.key and key != candidate.key and (key or source == "static"):
                self._doubt(candidate)
            if candidate.hearsay or source == "static":
                candidate.source = source
            if candidate.met:
                self._given.answered(endpoint)
        return True

    def _doubt(self, candidate: Candidate) -> None:
        """Try every authorized key at an endpoint for which two were told: either may be false."""
        candidate.key = b""
        if not candidate.met:
            self._core.do(Redial(candidate.endpoint))

    def _room(self, now: float) -> bool:
        """Return whether there is room for an endpoint that only others told us of.

        If not, the oldest one that has not answered makes room, once it has had `CHANCE` seconds:
        endpoints that somebody made up must not keep out real ones.
        """
        unanswered = self._core.members.gossip()
        if len(unanswered) < self._core.room[1]:
            return True
        if now - unanswered[0].since < CHANCE:
            return False
        self.drop(unanswered[0].endpoint)
        return True

    def drop(self, endpoint: str) -> None:
        """Stop dialling an endpoint at which no node was found."""
        candidate = self._all.get(endpoint)
        if candidate and candidate.peer is None:
            del self._all[endpoint]
            self._core.do(CloseLink(endpoint))

    def keep(self, sources: tuple[str, ...], living: Collection[str]) -> None:
        """Stop dialling the endpoints from some sources that are not among the living."""
        for candidate in list(self._all.values()):
            if candidate.source in sources and candidate.endpoint not in living:
                self.drop(candidate.endpoint)

    def tick(self, candidate: Candidate, now: float) -> None:
        """Say hello to a candidate again, on a fresh link if this one answers nothing."""
        if candidate.met:
            return
        if now < candidate.hello_at:
            # The node there may end before it answers: then a join need not wait for it.
            if candidate.state is State.DIALING and now >= candidate.probe_at:
                self._probe(candidate, now)
            return
        if candidate.hearsay and not candidate.peer and now - candidate.since > FORGET_AFTER:
            self.drop(candidate.endpoint)
            return
        if candidate.state is State.REFUSED:
            candidate.state = State.DIALING
        if candidate.state is State.DEAD:
            candidate.redial_at = now + UNANSWERED_AFTER
        elif now >= candidate.redial_at:
            # Something listens and does not answer: libzmq may have given up on it for
            # good (after a wrong protocol or an oversize frame it never reconnects).
            candidate.redial_at = now + UNANSWERED_AFTER
            self._core.do(Redial(candidate.endpoint, candidate.key))
        self._greet(candidate, now)

    def dial_again(self, now: float) -> None:
        """At the next tick, dial every candidate that is no peer: other keys are authorized now."""
        for candidate in self._all.values():
            if not candidate.met:
                candidate.hello_at = candidate.redial_at = now

    def turned_away(self, endpoint: str, obstacle: str) -> None:
        """Take note of why a connection to an endpoint could not be made."""
        candidate = self._all.get(endpoint)
        if candidate is not None:
            candidate.obstacle = obstacle

    def _greet(self, candidate: Candidate, now: float) -> None:
        candidate.hello_at = now + HELLO_EVERY
        self._core.do(Send(candidate.endpoint, self._core.hello()))
        self._probe(candidate, now)

    def _probe(self, candidate: Candidate, now: float) -> None:
        candidate.probe_at = now + CANDIDATE_PROBE_EVERY
        self._core.do(Probe(candidate.endpoint))

    # ------------------------------------------------------------------------- answers

    def on_refuse(self, refuse: Refuse, link: str | None, now: float) -> None:
        """Leave a candidate alone for a while, or for good if it is this node itself."""
        candidate = self._all.get(link or "")
        if candidate is None:
            return
        if refuse.reason == "self":
            candidate.state = State.OURSELVES
            self._given.answered(candidate.endpoint)
            self._core.do(CloseLink(candidate.endpoint))
        else:
            self._core.reject(candidate.endpoint, f"refused: {refuse.reason}", refuse.text)
            self.refused(candidate, refuse, now)

    def refused(self, candidate: Candidate, refuse: Refuse, now: float) -> None:
        """Leave a candidate alone for a while, and remember why."""
        candidate.state, candidate.hello_at = State.REFUSED, now + REFUSED_RETRY
        candidate.reason, candidate.text = refuse.reason, refuse.text

    def on_stranger(self, link: str | None, now: float) -> None:
        """Say hello to a node that does not know us, or no longer does."""
        candidate = self._all.get(link or "")
        if candidate is not None:
            candidate.state = State.DIALING
            self._greet(candidate, now)

"""Hands what peers answer to those who wait for it: the window, or what receives the peer.

On the control thread, as soon as the session has taken it for the peer's word.
"""

from ...history import Body
from ...protocol.session.session import Answer, Session
from ...protocol.wire.messages import Ack, Recalled, Replayed
from ..inbound.receiver import Receiver
from ..outbound.window import Window

PENDING_BYTES = 64 << 20
"""Bytes that have been sent again to us and that the data thread has not taken yet."""


class Answers:
    """The way of answers, and of the frames that come with them."""

    def __init__(self, session: Session, inbound: Receiver, window: Window) -> None:
        self._session = session
        self._inbound = inbound
        self._window = window
        # One thread writes the one, one the other: no lock.
        self._came = self._taken = 0

    def take(self, answer: Answer) -> None:
        """Take an answer, of a peer."""
        match answer:
            case Ack(peer, positions):
                self.acknowledged(peer, positions)
            case Replayed(peer, name, first, last, request):
                self._inbound.with_peer_receiver(
                    peer, lambda there: there.resent(name, first, last, request)
                )
            case Recalled(peer, request, ranges):
                self._inbound.with_peer_receiver(
                    peer, lambda there: there.history_fetcher.recounted(request, ranges)
                )

    def acknowledged(self, node: bytes, positions: dict[str, int]) -> None:
        """Let go of what a peer has; tell if it is slow no more."""
        peer = self._session.members.peers.get(node)
        if peer is None:
            return
        slow = self._window.acknowledge(node, peer.acked, positions)
        if slow is not None:
            if not slow.told:  # for a moment only, which no look at the clock has seen
                self._session.slow(peer, True)
            self._session.slow(peer, False)

    def replayed(self, link: str, frame: Body) -> None:
        """Take a frame that the peer at the other end of a link has sent again."""
        peer, size = self._session.members.linked_to(link), len(frame)
        if peer is None or peer.link != link:
            return  # a hub's word, perhaps, for one that we reach without it
        # What does not fit is asked for again: a data thread that a task holds takes nothing.
        if self._came - self._taken <= PENDING_BYTES:
            self._came += size
            self._inbound.with_peer_receiver(peer.id, lambda there: there.replayed(frame))
            self._inbound.do(lambda: self._leave(size))

    def _leave(self, size: int) -> None:
        self._taken += size

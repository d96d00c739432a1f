"""Hands the answers of peers to the parts that wait for them: the window, or a peer's receiver.

Runs on the control thread, after the session has checked that the answer comes from the peer.
"""

from ...history import Body
from ...protocol.delivery.conflation import Offers
from ...protocol.session.session import Answer, Session
from ...protocol.wire.messages import Ack, Counted, Recalled, Replayed
from ..inbound.receiver import Receiver
from ..outbound.window import Window
from .traffic import TrafficLooks

PENDING_BYTES = 64 << 20
"""Most bytes of replayed frames that may wait for the data thread."""
PENDING_OF_ONE = 32 << 20
"""The same of one peer. A peer of which nothing waits may always bring a frame: what others send
again does not keep it from recovering."""


class _Pending:
    """The bytes of one peer that have come for the data thread, and those that it has taken.

    Each counter is written by one thread only (control, data): no lock is needed.
    """

    __slots__ = ("came", "taken")

    def __init__(self) -> None:
        self.came = self.taken = 0

    @property
    def waiting(self) -> int:
        """The bytes that wait."""
        return self.came - self.taken


class Answers:
    """Passes on answers, and the replayed frames that come with them."""

    def __init__(
        self,
        session: Session,
        inbound: Receiver,
        window: Window,
        latest: Offers,
        traffic: TrafficLooks,
    ) -> None:
        self._session = session
        self._traffic = traffic
        self._inbound = inbound
        self._window = window
        self._latest = latest
        self._pending: dict[bytes, _Pending] = {}
        """By peer, what waits for the data thread, or waited until lately."""

    def take(self, answer: Answer) -> None:
        """Hand the answer of a peer to the part that waits for it."""
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

            case Counted(peer):
                self._traffic.take(peer, answer)

    def acknowledged(self, node: bytes, positions: dict[str, int]) -> None:
        """Release what a peer has acknowledged; tell the session if the peer is no longer slow."""
        peer = self._session.members.peers.get(node)
        if peer is None:
            return
        self._latest.acknowledged(node, positions)
        slow = self._window.acknowledge(node, peer.acked, positions)
        if slow is not None:
            if not slow.told:  # slow only between two looks at the clock, so nobody was told
                self._session.slow(peer, True)
            self._session.slow(peer, False)

    def replayed(self, link: str, frame: Body) -> None:
        """Take a frame that the peer at the other end of a link has sent again."""
        peer, size = self._session.members.linked_to(link), len(frame)
        if peer is None or peer.link != link:
            return  # perhaps a hub passed it on for a peer to which we have a direct link
        # A frame that does not fit is dropped and asked for again later: while a task blocks the
        # data thread, nothing is taken from its queue.
        pending = self._pending_of(peer.id)
        of_all = sum(one.waiting for one in self._pending.values())
        if not pending.waiting or (pending.waiting <= PENDING_OF_ONE and of_all <= PENDING_BYTES):
            pending.came += size
            self._inbound.with_peer_receiver(peer.id, lambda there: there.replayed(frame))
            self._inbound.do(lambda: self._leave(pending, size))

    def _pending_of(self, peer: bytes) -> _Pending:
        """Return what waits of a peer; those of which nothing waits are forgotten first."""
        pending = self._pending.get(peer)
        if pending is None:
            self._pending = {node: left for node, left in self._pending.items() if left.waiting}
            pending = self._pending[peer] = _Pending()
        return pending

    @staticmethod
    def _leave(pending: _Pending, size: int) -> None:
        pending.taken += size

"""Questions and replies of one node: whom to ask, and how an answer gets back.

A question travels as a message. The data thread of the node that is asked hands it to a responder,
after the tasks. The reply is published at once, by the thread that has it, under the token of the
asker, to which the asker is subscribed at each peer anyway. So it needs no further thread, socket
or subscription, and it takes the very way that a message of the responder would take.

A reply that is lost on the way is not sent again: its asker gets `RequestTimeout`. While an asker
waits, the control thread looks several times a second whether anything still listens at the
responder: a process that was killed is noticed long before its silence would show.
"""

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from ...errors import DecodeError, EncodeError
from ...local.asking import Elsewhere
from ...local.registry import Exchange, Registry
from ...local.tasks.responder import Done, failed
from ...protocol.codec.values import SMALL_BODY, TOP, decode, explained_error
from ...protocol.session.peers import Peer
from ...protocol.session.session import Session
from ...protocol.wire.replies import (
    FAILED,
    GONE,
    PLAIN,
    REST_BYTES,
    VALUE,
    WHOLE_HEAD,
    failed_reply,
    read_reply,
    unpack_reply,
    value_head,
)
from ...questions import Outcome, new_outcome

if TYPE_CHECKING:
    from ..outbound.publisher import Publisher
    from ..transport.probes import Probes
    from ..transport.threads import NodeThread

unpack_small = TOP.unpack_small
UNDER_WAY_MOST = 1000
"""Questions of one peer that are worked on at a time; others are answered with `LimitReached`."""
PROBE_EVERY = 0.2
"""Seconds between two looks whether a responder that is waited for still listens."""


class NodeRequests:
    """The questions and replies of one node. It stands for its federation in an `Elsewhere`."""

    def __init__(
        self, session: Session, outbound: "Publisher", registry: Registry, probes: "Probes"
    ) -> None:
        self._session = session
        self._me = session.me
        self._outbound = outbound
        self._registry = registry
        self._probes = probes
        self.data_thread: NodeThread | None = None
        self.there: dict[str, tuple[Elsewhere, ...]] = {}
        """By exchange, the peers that answer on it, and can be asked now. Replaced as a whole."""
        self._known: dict[bytes, Elsewhere] = {}
        """The peers that have answered somewhere, each as one object."""
        self._lock = threading.Lock()
        self._under_way: dict[bytes, int] = {}
        self._probe_at = 0.0
        self.late = self.unsent = 0

    # ---------------------------------------------------------------------- the asker

    def holds_up(self) -> bool:
        """Return whether the calling thread must not wait for a peer's answer. Any thread."""
        here, thread = threading.get_ident(), self.data_thread
        return (thread is not None and thread.number == here) or self._outbound.busy_at(here)

    def look(self) -> None:
        """Work out again who answers where, if that may have changed. Control thread."""
        if not self._session.restless:
            return
        self._session.restless = False
        before = self.there
        known = self._known
        self.there = {
            name: tuple([known.get(peer.id) or self._know(peer) for peer in peers])
            for name, peers in self._session.answering.there().items()
        }
        if self.there.keys() - before.keys():
            self._registry._responders_came()

    def _know(self, peer: Peer) -> Elsewhere:
        label, process = str(peer.label), peer.hello.registry
        one = self._known[peer.id] = Elsewhere(self, peer.id, label, process)
        return one

    def take(self, frame: bytes, peer: bytes) -> None:
        """Take a reply of a peer. Data thread.

        Raises:
            DecodeError: it is malformed, not for this node, or not of this peer.
        """
        if len(frame) <= SMALL_BODY:  # as nearly all are; see `local.requests` for why
            _, receiver, _, size, version, origin, _, status, number = unpack_reply(frame)
            if (size, version, status) == PLAIN and receiver == self._me and origin == peer:
                try:
                    value = unpack_small(frame[WHOLE_HEAD:])
                except Exception:  # taken once more, to find out what is wrong
                    self._take(frame, peer)
                    return
                known = self._known.get(peer)
                if known is not None:
                    outcome = new_outcome(("value", value, "", "", None))
                    self._registry._asking.answered(number, known, outcome)
                return
        self._take(frame, peer)

    def _take(self, frame: bytes, peer: bytes) -> None:
        """Take a reply of any kind, as `take` does."""
        receiver, _, origin, number, status, value, error, text = read_reply(frame)
        if receiver != self._me or origin != peer:
            raise DecodeError("a reply that is not for this node, or not of this peer")
        if status == VALUE:
            try:
                outcome = Outcome("value", decode(value))
            except DecodeError as wrong:
                outcome = failed(wrong)
        elif status == FAILED:
            outcome = Outcome("failed", error=error, text=text)
        else:
            outcome = Outcome("lost", text=text)
        known = self._known.get(peer)
        if known is not None:
            self._registry._asking.answered(number, known, outcome)

    def left(self, peer: bytes, reason: str) -> None:
        """Take note that a peer has left. Data thread, after all that has arrived from it."""
        known = self._known.get(peer)
        if known is not None:
            self._registry._asking.lost(known, reason)
            if peer not in self._session.members.peers:
                self._known.pop(peer, None)

    def end(self) -> None:
        """Take note that this node is closed: nobody answers by it any longer."""
        self.there = {}
        for one in self._waited_for():
            self._registry._asking.lost(one, "the node of this process was closed")

    def _waited_for(self) -> list[Elsewhere]:
        waited = self._registry._asking.waited_for()
        return [one for one in waited if isinstance(one, Elsewhere) and one.federation is self]

    def tick(self, now: float, gone: Any) -> None:
        """Look whether the responders that are waited for still listen. Control thread.

        Args:
            now: seconds on a monotonic clock.
            gone: called with the id of a peer at which nothing listens any longer.
        """
        if now < self._probe_at:
            return
        self._probe_at = now + PROBE_EVERY
        for one in self._waited_for():
            peer = self._session.members.peers.get(one.node)
            if peer is None:
                gone(one.node)
            elif not peer.carried:
                judge = partial(self._probed, one.node, gone)
                self._probes.probe(peer.link or peer.control, now, judge)

    def _probed(self, node: bytes, gone: Any, endpoint: str, listening: bool) -> None:
        if not listening:
            gone(node)

    # ------------------------------------------------------------------ the responder

    def asked(self, exchange: Exchange[Any], msg: object, peer: bytes, number: int) -> None:
        """Have a question of a peer answered. Data thread."""
        outcome = exchange._answer_question(msg, partial(self._begin, peer, number))
        if outcome is not None:
            self._reply(peer, number, outcome)

    def _begin(self, peer: bytes, number: int) -> Done | None:
        """Count a question that a coroutine answers; refuse it if its asker has too many."""
        with self._lock:
            busy = self._under_way.get(peer, 0)
            if busy < UNDER_WAY_MOST:
                self._under_way[peer] = busy + 1
        if busy < UNDER_WAY_MOST:
            return partial(self._answered, peer, number)
        text = f"{UNDER_WAY_MOST} questions of this asker are under way already"
        self._reply(peer, number, Outcome("failed", error="LimitReached", text=text))
        return None

    def _answered(self, peer: bytes, number: int, outcome: Outcome) -> None:
        """Take the outcome of a question. Any thread."""
        with self._lock:
            left = self._under_way.pop(peer) - 1
            if left:
                self._under_way[peer] = left
        self._reply(peer, number, outcome)

    def _reply(self, node: bytes, number: int, outcome: Outcome) -> None:
        if outcome.kind == "value":
            try:
                rest = value_head(self._me, number) + TOP.pack(outcome.value)
                if len(rest) > REST_BYTES:
                    raise EncodeError(f"an answer of {len(rest)} bytes, over {REST_BYTES}")
            except Exception as error:
                told = failed(explained_error(outcome.value, error) or error)
                rest = failed_reply(self._me, number, told.error, told.text)
        elif outcome.kind == "failed":
            rest = failed_reply(self._me, number, outcome.error, outcome.text)
        else:
            rest = failed_reply(self._me, number, "", outcome.text, GONE)
        if not self._outbound.reply(node, rest):
            self.unsent += 1

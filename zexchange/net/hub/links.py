"""A hub's links to other hubs: one DEALER to each, for hub messages, control messages and data.

Each hub dials the hubs that it was given, and those that have dialled it. If a link has no room
for a message, the message is dropped: nodes ask again for what they miss. On the hub's thread.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import zmq

from ...errors import DecodeError
from ...local.process.logs import log
from ...protocol.hub.core import HubCore
from ...protocol.hub.credit import Credit
from ...protocol.hub.messages import Accepted, Attach, Refused, Word, read_word, word_frame
from ...protocol.hub.topology import MAX_HUBS
from ...protocol.security.keys import belongs
from ...protocol.security.permissions import Policy
from ...protocol.timing import ENTER_EVERY, KNOCK_EVERY, REDIAL_AFTER, TURNED_AWAY_RETRY
from ...protocol.unanswered import Neighbours
from ...protocol.wire.envelopes import Envelope, bundles
from ..peering.dealers import DealerLink, DealerLinks
from ..security.guard import AuthListener, CurveGuard
from ..transport.polling import Poller
from .forwarding import BUDGET
from .sockets import HubSockets

ANSWER_WITHIN = 3.0
"""Seconds without an answer from a hub that we were given, after which that is logged."""
FORGET_AFTER = 60.0
"""Seconds after which a hub that has dialled us and does not answer is no longer dialled."""


@dataclass(eq=False)
class Link(DealerLink, Credit):
    """Our link to another hub."""

    hub: bytes = b""
    secret: bytes = b""
    enter_at: float = 0.0
    redial_at: float = 0.0
    forget_at: float = math.inf
    """When to give up on a hub that was not given to us and does not answer."""
    parcels: list[Envelope] = field(default_factory=list[Envelope])


class HubLinks(DealerLinks[Link], AuthListener):
    """All links of one hub.

    Args:
        sockets: makes the sockets of links.
        poller: watches these sockets.
        core: told which hubs answer.
        hello: sent on each link, with the fields filled in that differ by link.
        monotonic: returns seconds on a monotonic clock.
        guard: knows keys; judges which of them may carry nodes.
    """

    def __init__(
        self,
        sockets: HubSockets,
        poller: Poller,
        core: HubCore,
        hello: Attach,
        monotonic: Callable[[], float],
        guard: CurveGuard,
    ) -> None:
        super().__init__(sockets, poller, guard)
        self._given: dict[str, float] = {}
        """Endpoints that we were given, and when to dial each again if there is no link."""
        self._core = core
        self._hello = hello
        self._monotonic = monotonic
        self._neighbours = Neighbours(ANSWER_WITHIN)
        self._leads: dict[str, bytes] = {}
        """By endpoint that we were given, the id of the hub that answered there last."""
        self.dropped = 0
        self.busy = False
        """Whether a frame was sent in this turn: sending may have consumed a wake-up."""

    def to(self, hub: bytes) -> Link | None:
        """Return the link on which a hub answers, if there is one."""
        return next((link for link in self.values() if link.hub == hub), None)

    def keep(self, endpoint: str) -> None:
        """Link to another hub for as long as this hub runs."""
        self._given[endpoint] = 0.0
        self._neighbours.given(endpoint, self._monotonic())
        self.call(endpoint)

    def call(self, endpoint: str, forget_at: float = math.inf) -> None:
        """Link to another hub, unless there is a link to that endpoint."""
        if endpoint in self or len(self) >= MAX_HUBS:
            return
        now = self._monotonic()
        if endpoint in self._given:
            self._given[endpoint] = now + REDIAL_AFTER
        link = self.open(Link, endpoint, hub=True)
        if link is not None:
            link.redial_at, link.forget_at = now + REDIAL_AFTER, forget_at
            self.connect(link, endpoint)

    def try_again(self, endpoint: str) -> None:
        """Replace a link that has not been established, to try the next key."""
        link = self.close(endpoint)
        if link is not None:
            self.call(endpoint, link.forget_at)

    def hang_up(self, endpoint: str) -> None:
        """Close a link. It is made again after a while if its endpoint was given to us."""
        self.close(endpoint)

    def turned_away(self, source: str, reason: str, detail: str) -> None:
        """Have a warning logged that a connection was not made."""
        self._core.complain(f"{source}: {reason}", detail)

    def shut_out(self, endpoint: str) -> None:
        """Dial a hub that refused our key again soon: the key may be authorized by then."""
        link = self.get(endpoint)
        if link is not None:
            link.redial_at = link.enter_at = self._monotonic() + KNOCK_EVERY

    def judge(self, before: Policy, policy: Policy) -> None:
        """Replace the links whose key has other rights now, or is not known to be a hub's."""
        changed = before.changed(policy)
        for link in list(self.values()):
            if link.key in changed or not policy.is_hub(link.key):
                self.try_again(link.endpoint)
        for endpoint in self._given:
            self.call(endpoint)

    def tick(self, now: float) -> None:
        """Attach where it is time; replace links that do not answer; give up expired ones."""
        for link in list(self.values()):
            if link.hub in self._core.linked:
                link.redial_at = now + REDIAL_AFTER
                link.forget_at = max(link.forget_at, now + FORGET_AFTER)
            elif now >= link.forget_at:
                self.close(link.endpoint)
                continue
            elif now >= link.redial_at:
                self.try_again(link.endpoint)
                continue
            if now >= link.enter_at:
                self._enter(link, now)
        for endpoint, again_at in self._given.items():
            if now >= again_at:
                self.call(endpoint)
        linked = [endpoint for endpoint, hub in self._leads.items() if hub in self._core.linked]
        for text in self._neighbours.look(linked, now):
            log.warning("federation %r: %s", self._hello.federation, text)

    def _enter(self, link: Link, now: float) -> None:
        link.enter_at, link.told = now + ENTER_EVERY, link.sent
        known = self._core.map.digest
        hello = replace(
            self._hello, sent=link.sent, taken=link.its_sent, mark=known, secret=link.secret
        )
        self.say(link, hello)

    def read(self, link: Link, now: float) -> int:
        """Read the answers of another hub, within a budget; return how many there were."""
        for n in range(BUDGET):
            try:
                frame = link.socket.recv(zmq.NOBLOCK)
                word = read_word(frame)
            except zmq.Again:
                return n
            except DecodeError as error:
                self._core.reject(str(error))
                continue
            if not self._guard.may_carry(link.key):
                continue
            if isinstance(word, Accepted):
                if link.key and not belongs(word.sender, link.key):
                    self._core.complain(f"the hub at {link.endpoint} has an id of another key")
                    continue
                if link.endpoint in self._given:
                    self._leads[link.endpoint] = word.sender
                other = self.to(word.sender)
                if other is not None and other is not link:
                    self.close(link.endpoint)  # a second link to the same hub
                    return n
                link.hub, link.secret = word.sender, word.secret
                link.taken, link.its_sent = max(link.taken, word.taken), word.sent
                self._core.link(word.sender, now)
            elif isinstance(word, Refused):
                self._refused(link, word, now)
        return BUDGET

    def _refused(self, link: Link, word: Refused, now: float) -> None:
        link.enter_at = link.redial_at = now + TURNED_AWAY_RETRY
        self._core.reject(f"{link.endpoint} refused: {word.reason}: {word.text}")

    def send(self, link: Link, parts: Sequence[Any], size: int) -> None:
        """Send a message of any number of frames, or drop it if there is no room.

        ``size`` is in bytes.
        """
        if not self._guard.may_carry(link.key):
            return
        if not link.take(size):
            self.dropped += 1
            return
        try:
            link.socket.send_multipart(parts, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            self.dropped += 1
        if link.due:
            self._enter(link, self._monotonic())
        self.busy = True

    def flush(self, link: Link) -> None:
        """Send the control messages that were gathered for a hub."""
        parcels, link.parcels = link.parcels, []
        for frame in bundles(parcels):
            self.send(link, [frame], len(frame))

    def say(self, link: Link, word: Word) -> None:
        """Send a message to the hub itself, after those that were gathered for nodes there."""
        if not self._guard.may_carry(link.key):
            return  # the guard has logged it
        self.flush(link)
        with suppress(zmq.Again):
            link.socket.send(word_frame(word), zmq.NOBLOCK)

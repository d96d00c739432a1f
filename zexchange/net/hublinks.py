"""A hub's links to other hubs: one DEALER to each, for words, control messages and data alike.

Each hub dials those that it was given, and those that have called it. What a link has no room
for is dropped: nodes ask again for what they miss. On the hub's thread.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import zmq

from ..errors import DecodeError
from ..protocol.carrying import Carrying
from ..protocol.hubmap import MAX_HUBS
from ..protocol.hubwords import Carried, Enter, TurnedAway, Word, read_word, word_frame
from ..protocol.relay import BUNDLE_BYTES, Parcel, bundle
from .forwarding import BUDGET
from .hubsockets import HubSockets
from .sockets import Poller

ENTER_EVERY = 1.0
REDIAL_AFTER = 3.0
TURNED_AWAY_RETRY = 10.0
UNREAD_BYTES = 32 << 20
"""Bytes that may be on their way to another hub; what is beyond is dropped."""
TELL_BYTES = 4 << 20
FORGET_AFTER = 60.0
"""Seconds after which a hub that has called us, and does not answer, is dialled no more."""
_log = logging.getLogger("zexchange")


@dataclass(slots=True, eq=False)
class Link:
    """Our link to another hub."""

    endpoint: str
    socket: "zmq.Socket[bytes]"
    fd: int
    hub: bytes = b""
    secret: bytes = b""
    enter_at: float = 0.0
    redial_at: float = 0.0
    forget_at: float = math.inf
    """When to give up on a hub that was not given to us, and does not answer."""
    sent: int = 0
    taken: int = 0
    told: int = 0
    its_sent: int = 0
    parcels: list[Parcel] = field(default_factory=list)


class HubLinks:
    """All links of one hub. ``hello`` is what it says on each, but for what differs."""

    def __init__(
        self,
        sockets: HubSockets,
        poller: Poller,
        core: Carrying,
        hello: Enter,
        monotonic: Callable[[], float],
    ) -> None:
        self._sockets = sockets
        self._poller = poller
        self._core = core
        self._hello = hello
        self._monotonic = monotonic
        self._links: dict[str, Link] = {}
        self.dropped = 0
        self.busy = False
        """Whether something was sent since the links were last read."""

    def __iter__(self) -> Iterator[Link]:
        """Yield the links there are now."""
        return iter(list(self._links.values()))

    def to(self, hub: bytes) -> Link | None:
        """Return the link to a hub that answers there, if there is one."""
        return next((link for link in self._links.values() if link.hub == hub), None)

    def call(self, endpoint: str, forget_at: float = math.inf) -> None:
        """Link to another hub, unless there is a link there."""
        if endpoint in self._links or len(self._links) >= MAX_HUBS:
            return
        socket = self._sockets.dealer()
        try:
            socket.connect(endpoint)
        except zmq.ZMQError as error:
            socket.close()
            _log.warning("cannot dial %s: %s", endpoint, error)
            return
        now = self._monotonic()
        link = Link(endpoint, socket, int(socket.getsockopt(zmq.FD)), redial_at=now + REDIAL_AFTER)
        link.forget_at = forget_at
        self._links[endpoint] = link
        self._poller.watch(link.fd)

    def _hang_up(self, link: Link) -> None:
        del self._links[link.endpoint]
        self._poller.forget(link.fd)
        link.socket.close(linger=0)

    def tick(self, now: float) -> None:
        """Enter where it is time; replace links that do not answer, and give some up."""
        for link in list(self._links.values()):
            if link.hub in self._core.linked:
                link.redial_at = now + REDIAL_AFTER
                link.forget_at = max(link.forget_at, now + FORGET_AFTER)
            elif now >= link.forget_at:
                self._hang_up(link)
                continue
            elif now >= link.redial_at:
                self._hang_up(link)
                self.call(link.endpoint, link.forget_at)
                continue
            if now >= link.enter_at:
                self._enter(link, now)

    def _enter(self, link: Link, now: float) -> None:
        link.enter_at, link.told = now + ENTER_EVERY, link.sent
        hello = replace(self._hello, sent=link.sent, taken=link.its_sent, secret=link.secret)
        self.say(link, hello)

    def read(self, link: Link, now: float) -> int:
        """Take what another hub answers; return how many words there were, within a budget."""
        for n in range(BUDGET):
            try:
                frame = link.socket.recv(zmq.NOBLOCK)
                word = read_word(frame)
            except zmq.Again:
                return n
            except DecodeError as error:
                self._core.reject(str(error))
                continue
            if isinstance(word, Carried):
                other = self.to(word.sender)
                if other is not None and other is not link:
                    self._hang_up(link)  # a second way to the same hub
                    return n
                link.hub, link.secret = word.sender, word.secret
                link.taken, link.its_sent = max(link.taken, word.taken), word.sent
                self._core.link(word.sender, now)
            elif isinstance(word, TurnedAway):
                self._turned_away(link, word, now)
        return BUDGET

    def _turned_away(self, link: Link, word: TurnedAway, now: float) -> None:
        link.enter_at = link.redial_at = now + TURNED_AWAY_RETRY
        self._core.reject(f"{link.endpoint} refused: {word.reason}: {word.text}")

    def send(self, link: Link, parts: Sequence[Any], size: int) -> None:
        """Send a message of any number of frames, if there is room for it."""
        if link.sent - link.taken + size > UNREAD_BYTES and link.sent > link.taken:
            self.dropped += 1
            return
        link.sent += size
        try:
            link.socket.send_multipart(parts, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            self.dropped += 1
        if link.sent - link.told > TELL_BYTES:
            self._enter(link, self._monotonic())
        self.busy = True

    def flush(self, link: Link) -> None:
        """Send the control messages that were gathered for a hub."""
        parcels, link.parcels = link.parcels, []
        for some in portions(parcels):
            frame = bundle(some)
            self.send(link, [frame], len(frame))

    def say(self, link: Link, word: Word) -> None:
        """Say something to a hub itself, behind what was gathered for others there."""
        self.flush(link)
        with suppress(zmq.Again):
            link.socket.send(word_frame(word), zmq.NOBLOCK)


def portions(parcels: list[Parcel]) -> list[list[Parcel]]:
    """Return parcels in portions of a bundle each."""
    portions: list[list[Parcel]] = []
    room = 0
    for parcel in parcels:
        if room <= 0:
            portions.append([])
            room = BUNDLE_BYTES
        portions[-1].append(parcel)
        room -= len(parcel.content)
    return portions

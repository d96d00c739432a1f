"""A session: all that the gateway keeps of a browser, over its connections.

A session outlives its connections by `Limits.keep` seconds. Everything here belongs to one event
loop, and nothing here knows WebSockets.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ...protocol.codec.values import encode
from . import frames
from .queue import ClientQueue, Limits

NOTHING = encode(None)


class Source(Protocol):
    """Where the messages of a subscription come from."""

    def drop(self, session: "Session", id: int) -> None:
        """Give a subscription no more messages."""
        ...


@dataclass(eq=False)
class Session:
    """One browser: its queue, its subscriptions, and the number of the last frame it was taken.

    Attributes:
        limits: what it may use.
        id: by which a later connection of the browser names it, as nobody else can.
        queue: what it has still to get.
        taken: the number of its last frame that was dealt with, or begun.
        subscriptions: by its own ids.
        tasks: requests and attachments that are under way.
        requests: how many of them are requests.
        hang_up: ends the connection that there is, with a code and a reason; None without one.
    """

    limits: Limits
    id: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    taken: int = 0
    requests: int = 0
    subscriptions: dict[int, Source] = field(default_factory=dict[int, Source])
    tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    hang_up: Callable[[int, str], None] | None = None
    over: bool = False
    _ping: bool = False

    def __post_init__(self) -> None:
        self.queue = ClientQueue(self.limits, frames.missed)
        self.ready = asyncio.Event()
        """Set when a frame may be there for the connection."""
        self._progress = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether a connection has the session."""
        return self.hang_up is not None

    def give(self, frame: Callable[[int], bytes], name: str = "") -> int:
        """Put a frame into the queue; see `ClientQueue.add`."""
        position = self.queue.add(frame, name)
        self.ready.set()
        return position

    def message(self, id: int, name: str, tail: bytes) -> None:
        """Give a message for a subscription."""
        self.give(lambda position: frames.message(position, id, tail), name)

    def miss(self, name: str, number: int | None) -> None:
        """Tell that messages were lost before they came here; None is unknown."""
        self.queue.miss(name, number)
        self.ready.set()

    def done(self, number: int, value: bytes = NOTHING) -> None:
        """Reply to a frame of the browser."""
        self.give(lambda position: frames.done(position, number, value))

    def refuse(self, number: int, reason: str, text: str) -> None:
        """Refuse a frame of the browser."""
        self.give(lambda position: frames.refused(position, number, reason, text))

    def pinged(self) -> None:
        """Answer a ping, once the connection can take more."""
        self._ping = True
        self.ready.set()

    def take(self) -> bytes | None:
        """Return the next frame for the connection; None while none may go."""
        if self._ping:  # whether or not the window is full
            self._ping = False
            return frames.PONG
        return self.queue.take()

    def acknowledge(self, position: int) -> None:
        """Take note of what the browser has handled.

        Raises:
            ValueError: it cannot have.
        """
        self.queue.acknowledge(position)
        self.went_on()

    def went_on(self) -> None:
        """Look again at what waits for an acknowledgement, or for one."""
        self.ready.set()
        progress, self._progress = self._progress, asyncio.Event()
        progress.set()

    async def handled(self, position: int) -> None:
        """Wait until the browser has handled everything up to a position."""
        while self.queue.acknowledged < position:
            await self._progress.wait()

    def end(self) -> None:
        """Let go of everything; the session is over."""
        self.over = True
        for id, source in list(self.subscriptions.items()):
            source.drop(self, id)
        self.subscriptions.clear()
        for task in list(self.tasks):
            task.cancel()

"""Messages of an exchange or a view as an iterable, for threads and for event loops.

A stream is a task with a mailbox. `for` and `async for` differ only in how they wait for the
mailbox. Of the object that it is attached to, a stream must know only how to detach from it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NoReturn

from ...errors import Closed
from ..process import finalizers
from .feeds import Feed
from .jobs import JobMailbox
from .latest import LatestMailbox
from .mailbox import Mailbox, MailboxStats, Overflow
from .noted import NO_HEADERS, Header

if TYPE_CHECKING:  # the default is for type checkers; at run time its package is not needed
    from typing_extensions import TypeVar

    T = TypeVar("T", default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Delivery(Generic[T]):
    """One message, and what is known of its origin.

    Attributes:
        name: the exchange it was sent on.
        msg: the message.
        origin: the id of the node on which it was sent, None for this process.
        seq: its number at that node on that exchange, None for this process, and for a member of a
            group.
        sent_at: when it was sent, in seconds since the epoch, by the sender's clock.
        headers: the headers that it was sent with; empty without any.
        redelivered: whether another member of the group may have handled it already; False for
            messages that go to everybody.
    """

    name: str
    msg: T
    origin: str | None
    seq: int | None
    sent_at: float
    headers: Mapping[str, Header] = NO_HEADERS
    redelivered: bool = False


class Detailed:
    """Marks tasks that get each message as a `Delivery`, and each `Lost` in its place."""

    __slots__ = ()


class Stream(Generic[T]):
    """A bounded mailbox of messages, read by iterating; made by ``stream()`` of an exchange.

    It receives from the moment it is made until `close`, which leaving a ``with`` or ``async with``
    block calls. Any thread may read; each message is read once. A stream that nobody refers to any
    longer is soon detached, with a `ResourceWarning` in Python's dev mode.
    """

    __slots__ = (
        "__weakref__",
        "_detach",
        "_feed",
        "_key",
        "_mailbox",
        "_wake",
        "send",
    )  # fmt: skip

    def __init__(
        self,
        key: str,
        maxsize: int,
        overflow: Overflow | None,
        details: bool,
        wake: Callable[[], None],
        detach: Callable[["Stream[T]"], None],
        latest: bool = False,
        shares: bool = False,
    ) -> None:
        self._mailbox: Mailbox[T]
        if shares:
            self._mailbox = JobMailbox()
        elif latest:
            self._mailbox = LatestMailbox()
        else:
            self._mailbox = Mailbox(maxsize, overflow, f"a stream of {key!r}")
        # The mailbox's own method: one call a message, not two.
        object.__setattr__(self, "send", self._mailbox.put)
        self._key = key
        self._feed = Feed(self, self._mailbox, details)
        """The task that is attached in place of the stream."""
        self._wake = wake  # to be called by the first use in a forked child
        self._detach: Callable[[Stream[T]], None] | None = detach

    if TYPE_CHECKING:

        def send(self, msg: T, /) -> object:
            """Take one message; see `Task`."""

    def __repr__(self) -> str:
        """Return a text with the exchange or pattern, and the number of waiting messages."""
        state = " closed" if self.closed else ""
        return f"<Stream {self._key!r}, {len(self)} waiting{state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a stream belongs to its process: it can be neither copied nor pickled")

    def __del__(self) -> None:
        feed: Feed | None = getattr(self, "_feed", None)  # None if `__init__` raised
        if feed is not None and feed.places:
            feed.orphan()

    def get(self, timeout: float | None = None) -> T:
        """Return the next message, waiting up to ``timeout`` seconds (None: without end).

        Raises:
            TimeoutError: nothing came in time.
            Closed: the stream was closed.
            RuntimeError: no message waits, there is no timeout, and this thread runs an event loop,
                which would stand still: await ``anext(stream)`` there.
        """
        self._wake()
        return self._mailbox.take(timeout)

    def __iter__(self) -> "Stream[T]":
        return self

    def __next__(self) -> T:
        try:
            return self.get()
        except Closed:
            raise StopIteration from None

    def __aiter__(self) -> "Stream[T]":
        return self

    async def __anext__(self) -> T:
        # Without the lock, and without a call of ours: 0.2 µs instead of 0.7. `popleft` is
        # atomic. Nothing else that the lock guards matters here, except to a sender that begins
        # to wait for room at this very moment, and that one looks again by itself.
        mailbox = self._mailbox
        if mailbox.turns and not mailbox.over:
            try:
                item = mailbox.items.popleft()
                mailbox.turns -= 1
                if mailbox.writers:
                    mailbox.let_write()
                return item
            except IndexError:
                pass
        self._wake()
        try:
            return await mailbox.take_async()
        except Closed:
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Stop receiving: iteration ends, a waiting sender goes on, `get` raises Closed."""
        if finalizers.collecting is not None and finalizers.later(self.close):
            return
        detach, self._detach = self._detach, None
        self._mailbox.close()
        if detach is not None:
            detach(self)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._mailbox.closed

    @property
    def dropped(self) -> int:
        """How many messages were dropped for want of room."""
        return self._mailbox.stats().dropped

    def stats(self) -> MailboxStats:
        """Return how many messages came, were dropped and wait, and how often senders waited."""
        return self._mailbox.stats()

    def __len__(self) -> int:
        return len(self._mailbox)

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> "Stream[T]":
        return self

    def __exit__(self, *reason: object) -> None:
        self._mailbox.leave(reason[0] is None)
        self.close()

    async def __aenter__(self) -> "Stream[T]":
        self._mailbox.read_here()
        return self

    async def __aexit__(self, *reason: object) -> None:
        self._mailbox.leave(reason[0] is None)
        self.close()

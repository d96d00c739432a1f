"""The frozen values that travel between nodes: control messages, and heads of data frames.

They say what one node tells another; in their docstrings, *I* is the sender and *you* the receiver.
Nothing here acts, and nothing here knows how a value is written on the wire: see `control.py` for
control messages, and `data.py` for heads of data frames.

They are in one file because together they are the protocol, to be read from top to bottom.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .notes import Notes

VERSIONS = (1, 1)
"""The lowest and highest protocol version spoken here."""
FORGETS = "forget"
"""The feature of a node that knows starts and places: see `sequence`."""
CONFLATES = "conflate"
"""The feature of a node that answers offers with claims: see `conflation`."""
ANSWERS = "request"
"""The feature of a node that knows questions, replies and headers: see `notes` and `replies`."""
SHARES = "group"
"""The feature of a node that knows groups: see `jobs`."""
COUNTS = "count"
"""The feature of a node that tells what flows: see `Count`."""
FEATURES = (FORGETS, CONFLATES, ANSWERS, SHARES, COUNTS)


MAX_ENDPOINT = 512
"""The longest endpoint, in characters: a host name has at most 253."""


MAX_LABEL = 255
"""Characters of a label's host, and of its name, that are read; the rest is cut off."""


@dataclass(frozen=True, slots=True)
class Label:
    """A description of a node for people: its host, process and a name of its choice."""

    host: str
    pid: int
    name: str = ""

    def __str__(self) -> str:
        """Return the short form that logs and tables show."""
        return f"{self.name + '@' if self.name else ''}{self.host}:{self.pid}"


class Address(NamedTuple):
    """One way to reach a node: its control (ROUTER) and its data (XPUB) endpoint."""

    control: str
    data: str


# --------------------------------------------------------------- control messages
#
# A message that says how far two nodes are with each other names its receiver in ``to``:
# after a restart another node listens at the same endpoint, to which it does not apply.
# `Addressed` in `session/state.py` lists these messages.


class GroupMember(NamedTuple):
    """A member of a group.

    Attributes:
        key: the name or pattern that it is attached to.
        group: the name of the group.
        number: tells it apart from the other members of its node, and is used once.
        ahead: how many messages of one sender it may have at a time; 0 leaves that to senders.
    """

    key: str
    group: str
    number: int
    ahead: int = 0


class ExchangeCount(NamedTuple):
    """The counts of one exchange at one node, from some moment on.

    Attributes:
        name: the exchange.
        sent: messages that were sent on it there.
        size: bytes of the frames that left the node for them.
        received: messages of others that its tasks were given.
        lost: messages of others that it reports as lost.
        conflated: messages of others that a newer one replaced.
        unacknowledged: messages that the slowest receiver has not acknowledged.
        slowest: the id of that receiver, empty if all is acknowledged.
    """

    name: str
    sent: int = 0
    size: int = 0
    received: int = 0
    lost: int = 0
    conflated: int = 0
    unacknowledged: int = 0
    slowest: bytes = b""

    @property
    def nothing(self) -> bool:
        """Whether nothing has flowed, or the node has forgotten the exchange."""
        return not any(self[1:])


@dataclass(frozen=True, slots=True)
class Control:
    """A control message, and the id of its sender."""

    sender: bytes


@dataclass(frozen=True, slots=True)
class Hello(Control):
    """I am here: the first message on a link, and the only one that I may send as a stranger.

    ``started`` is when this node was made, in seconds since the Unix epoch; 0 if unknown.
    ``acknowledge`` is how many bytes and how many messages of mine you may consume before you
    acknowledge them; 0 leaves it to you. ``key`` is my public key, empty if I have none.
    ``registry`` is the same for all nodes of one process that number messages alike, empty if
    unknown. ``exchanges`` are the names and patterns that take part, empty for all. ``responders``
    are the exchanges on which I answer, and the number of that list: see `Responders`; ``members``
    are my members of groups likewise: see `Members`.
    """

    federation: str
    label: Label
    addresses: tuple[Address, ...]
    epoch: int
    interest: tuple[str, ...]
    versions: tuple[int, int] = VERSIONS
    features: tuple[str, ...] = ()
    started: float = 0.0
    acknowledge: tuple[int, int] = (0, 0)
    key: bytes = b""
    registry: bytes = b""
    exchanges: tuple[str, ...] = ()
    responders: tuple[int, tuple[str, ...]] = (0, ())
    members: tuple[int, tuple[GroupMember, ...]] = (0, ())


@dataclass(frozen=True, slots=True)
class Welcome(Control):
    """The answer to a hello: a hello of mine, and the peers that I know, with their keys."""

    hello: Hello
    known: tuple[tuple[bytes, tuple[Address, ...]], ...] = ()
    keys: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Refuse(Control):
    """The answer to a hello that cannot be welcomed, and why."""

    reason: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Interest(Control):
    """My interest has changed, from one epoch to the next; or this is all of it.

    ``base`` is the epoch that the change applies to; 0 replaces everything. ``confirmed`` is the
    last epoch that you have proven to me on the data path.
    """

    epoch: int
    base: int
    confirmed: int
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    to: bytes = b""


@dataclass(frozen=True, slots=True)
class Ping(Control):
    """I live; my interest is at ``epoch``; of yours I have announced ``announced``.

    ``confirmed`` is the last epoch of my interest for which your ready has arrived; ``named`` is
    how many names I have told you in `Named`; ``responders`` is the number of my last `Responders`,
    and ``members`` that of my last `Members`.
    """

    epoch: int
    announced: int
    confirmed: int = 0
    to: bytes = b""
    named: int = 0
    responders: int = 0
    members: int = 0


@dataclass(frozen=True, slots=True)
class Responders(Control):
    """I answer questions on other exchanges than before, or these are all of them.

    ``number`` is that of the list that results; ``base`` is that of the list to which the change
    applies, 0 for the whole list.
    """

    number: int
    base: int
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    to: bytes = b""


@dataclass(frozen=True, slots=True)
class Members(Control):
    """I have other members of groups than before, or these are all of them; as `Responders`."""

    number: int
    base: int
    added: tuple[GroupMember, ...] = ()
    removed: tuple[GroupMember, ...] = ()
    to: bytes = b""


@dataclass(frozen=True, slots=True)
class Pong(Control):
    """Your ping arrived on this link.

    ``time`` is my clock, in seconds since the Unix epoch. ``held`` is for how many seconds a task
    has blocked my data thread, so that I deliver nothing. ``room`` is for how many more peers I
    have descriptors. Each is 0, or None, if I do not tell it.
    """

    time: float = 0.0
    held: float = 0.0
    room: int | None = None


@dataclass(frozen=True, slots=True)
class Resync(Control):
    """Tell me your whole interest again: I missed a change of it."""


@dataclass(frozen=True, slots=True)
class Stranger(Control):
    """I do not know you: say hello first."""


@dataclass(frozen=True, slots=True)
class Ack(Control):
    """Up to these numbers, my tasks have been given what you sent."""

    positions: dict[str, int]
    to: bytes = b""


@dataclass(frozen=True, slots=True)
class Slow(Control):
    """You acknowledge too slowly and no longer block my senders, or (``False``) have caught up."""

    slow: bool
    to: bytes = b""


@dataclass(frozen=True, slots=True)
class Replay(Control):
    """Send messages ``first`` to ``last`` of yours on an exchange again.

    With ``request`` 0, they did not reach me. Otherwise they are earlier ones, for a late joiner of
    mine, and ``request`` is the number of the recall in whose answer you named them.
    """

    name: str
    first: int
    last: int
    request: int = 0


@dataclass(frozen=True, slots=True)
class Replayed(Control):
    """The answer, which follows the frames: ``first`` to ``last`` are sent again.

    Those that you asked for before ``first`` are gone. Those after ``last`` you may ask for again.
    """

    name: str
    first: int
    last: int
    request: int = 0


@dataclass(frozen=True, slots=True)
class Recall(Control):
    """Which of your last messages do you keep, on every exchange that ``key`` covers?

    ``request`` is a number over 0 that I chose, for the answer.
    """

    request: int
    key: str


@dataclass(frozen=True, slots=True)
class Recalled(Control):
    """The answer: by exchange, the first and the last number of the messages that are kept."""

    request: int
    ranges: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Count(Control):
    """How much has flowed at you, on every exchange that ``key`` covers?

    ``request`` is a number that I chose, for the answer. Leave out what has not changed since your
    ``look``, of the counting that you ``began``; with 0, nothing. Leave out names up to ``after``.
    """

    request: int
    key: str
    began: int = 0
    look: int = 0
    after: str = ""


@dataclass(frozen=True, slots=True)
class Counted(Control):
    """The answer: a part of it, in the order of names, which ends at the name ``more``.

    The counts are those of my ``look``, which was at ``at``, in seconds on a clock of mine that is
    never set. Those of bytes, and of what is sent to nobody else, begin again whenever I have
    ``began`` to count. An exchange without counts is one that I have forgotten. ``more`` is empty
    in the last part. ``node`` has figures of the node by name: see `PROTOCOL.md`.
    """

    request: int
    began: int
    look: int
    at: float
    exchanges: tuple[ExchangeCount, ...] = ()
    more: str = ""
    node: dict[str, int] = field(default_factory=dict[str, int])
    slow: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Named(Control):
    """Subscribe to these names one by one: I do not honour the prefixes of your patterns.

    ``base`` is how many I have told you before; with 0 the list begins again.
    """

    base: int
    names: tuple[str, ...]
    to: bytes = b""


@dataclass(frozen=True, slots=True)
class Forgot(Control):
    """I have forgotten the exchanges that you told me to, in the `Ready` with this ``number``."""

    number: int
    to: bytes = b""


@dataclass(frozen=True, slots=True)
class Bye(Control):
    """I leave, and the last numbers that I gave are these."""

    heads: dict[str, int] = field(default_factory=dict[str, int])


# --------------------------------------------------------------------- data frames


@dataclass(slots=True)  # made for every frame: not frozen, which costs three times as much
class Batch:
    """A data frame's head: its origin, its places, and where in the frame its values start.

    ``start`` is where its exchange starts (see `sequence`), and ``first`` is greater. Up to
    ``base``, nothing more will come in any federation of its process; ``base`` is lower than
    ``start`` if other federations had the exchange first. ``notes`` is what travels beside some of
    its messages.
    """

    name: str
    origin: bytes
    first: int
    count: int
    flags: int
    sent_at: float
    body: int
    start: int = 0
    base: int = 0
    notes: tuple[Notes, ...] = ()


@dataclass(frozen=True, slots=True)
class Promise:
    """Heads as they were when an epoch was first announced; a name that is missing was at 0."""

    epoch: int
    heads: dict[str, int]

    def behind(self, heads: dict[str, int]) -> "Promise":
        """Return the promise with only the names whose head has changed since."""
        here = self.heads
        return Promise(self.epoch, {n: here.get(n, 0) for n in heads if here.get(n, 0) != heads[n]})

    def after(self, first: "Promise", wanted: Callable[[str], bool]) -> "Promise":
        """Return this promise joined with an earlier one, which holds for names wanted by then.

        Args:
            first: the earlier promise.
            wanted: returns whether a name was wanted by then.
        """
        before, heads = first.heads, dict(self.heads)
        for name in (*heads, *before.keys() - heads.keys()):
            if before.get(name, 0) != heads.get(name, 0) and wanted(name):
                heads[name] = before.get(name, 0)
        return Promise(self.epoch, heads)

    def of(self, names: Mapping[str, int]) -> "Promise":
        """Return the part of the promise that concerns some names."""
        return Promise(self.epoch, {n: head for n, head in self.heads.items() if n in names})


@dataclass(frozen=True, slots=True)
class Ready:
    """Proof on the data path: everything that ``origin`` sends from now on reaches ``receiver``.

    That is, on the exchanges for which the receiver has subscribed up to ``epoch``.

    With a ``number`` it is no proof. Then it tells the receiver to ``forget`` exchanges of which it
    has everything, up to the places given. It comes on this path so that it comes after all their
    messages.

    Attributes:
        receiver: the node that subscribed to the token.
        epoch: of the receiver's interest.
        origin: the node that answers the token.
        heads: by exchange, the last place that was given; for a receiver that knows no starts, the
            last number.
        promised: repeats the heads of the first announcements, which may have been lost, of epochs
            that the receiver has not confirmed. Names whose head is still the same are left out.
        starts: where exchanges in ``heads`` start, if not at 0.
        part: with many heads a ready comes in several frames; this is the number of this one, from
            1.
        parts: how many frames there are.
        forget: exchanges to be forgotten, and up to which place.
        number: of this request to forget; 0 in a proof.
        bases: the bases of those exchanges in ``starts`` that other federations of the process had
            first (see `Batch`).
        account: the number of the account of the receiver by which ``origin`` goes; 0 if not told.
            The origin begins a new one, with a higher number, when it remembers nothing of the
            receiver.
    """

    receiver: bytes
    epoch: int
    origin: bytes
    heads: dict[str, int]
    promised: tuple[Promise, ...] = ()
    starts: dict[str, int] = field(default_factory=dict[str, int])
    part: int = 1
    parts: int = 1
    forget: dict[str, int] = field(default_factory=dict[str, int])
    number: int = 0
    bases: dict[str, int] = field(default_factory=dict[str, int])
    account: int = 0

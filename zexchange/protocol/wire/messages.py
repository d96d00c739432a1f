"""The frozen values that flow between nodes: control messages, and heads of data frames.

They say what one node tells another. Nothing here acts, and nothing here knows how a
value is written on the wire.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

VERSIONS = (1, 1)
"""The lowest and highest protocol version spoken here."""
FORGETS = "forget"
"""The feature of a node that knows starts and places: see `sequence`."""
FEATURES = (FORGETS,)


MAX_ENDPOINT = 512
"""The longest endpoint, in characters: a host name has at most 253."""


MAX_LABEL = 255
"""Characters of a label's host and of its name; of more, these are read."""


@dataclass(frozen=True, slots=True)
class Label:
    """Who a node is, for people: its host, process and a name of its choice."""

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
# What says how far two nodes are with each other names its receiver in ``to``: after a
# restart another node listens at the same endpoint, and must not take it for its own.


@dataclass(frozen=True, slots=True)
class Control:
    """A control message, and who says it."""

    sender: bytes


@dataclass(frozen=True, slots=True)
class Hello(Control):
    """I am here: the first words on a link, and the only ones a stranger may say.

    ``started`` is when the node was made, in seconds since the Unix epoch; 0 if unknown.
    ``acknowledge`` is how many bytes and how many messages of mine you may consume before
    you tell me; 0 leaves it to you. ``key`` is my public key, empty without one.
    ``registry`` is the same in all nodes of one process that number messages alike, empty if
    unknown; ``exchanges`` are the names and patterns that take part, empty for all.
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


@dataclass(frozen=True, slots=True)
class Welcome(Control):
    """The answer to a hello: the same about me, and the peers that I know, with their keys."""

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
    """What the sender wants changed, from one epoch to the next, or in whole.

    ``base`` is the epoch that the change applies to; 0 replaces everything.
    ``confirmed`` is the last epoch that the receiver has proven on the data path.
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

    ``confirmed`` is the last epoch of my interest for which your ready has arrived;
    ``named`` is how many names I have told you in `Named`.
    """

    epoch: int
    announced: int
    confirmed: int = 0
    to: bytes = b""
    named: int = 0


@dataclass(frozen=True, slots=True)
class Pong(Control):
    """Your ping arrived on this link.

    ``time`` is my clock, in seconds since the Unix epoch; ``held`` for how many seconds a
    task has held my data thread, so that I deliver nothing; ``room`` for how many more peers
    I have descriptors. Each is 0, or None, where it is not told.
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
    """You acknowledge too slowly and hold my senders no more, or (``False``) have caught up."""

    slow: bool
    to: bytes = b""


@dataclass(frozen=True, slots=True)
class Replay(Control):
    """Send messages ``first`` to ``last`` of yours on an exchange again.

    They did not reach me (``request`` is 0), or they came before my time: then ``request``
    is the number of the recall in whose answer they were named.
    """

    name: str
    first: int
    last: int
    request: int = 0


@dataclass(frozen=True, slots=True)
class Replayed(Control):
    """The answer, behind the frames themselves: sent again is ``first`` to ``last``.

    What was asked for before ``first`` is gone; what was asked for behind ``last`` may
    be asked for again.
    """

    name: str
    first: int
    last: int
    request: int = 0


@dataclass(frozen=True, slots=True)
class Recall(Control):
    """Which of your last messages do you keep, on every exchange that ``key`` covers?

    ``request`` is a number of the sender's choice, over 0, for the answer.
    """

    request: int
    key: str


@dataclass(frozen=True, slots=True)
class Recalled(Control):
    """The answer: by exchange, the first and the last number of what is kept."""

    request: int
    ranges: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Named(Control):
    """Subscribe to these names one by one: I do not honour the prefixes of your patterns.

    ``base`` is how many I have told you before; 0 begins anew.
    """

    base: int
    names: tuple[str, ...]
    to: bytes = b""


@dataclass(frozen=True, slots=True)
class Forgot(Control):
    """I have forgotten what you told me to, by a ready (see there) of that ``number``."""

    number: int
    to: bytes = b""


@dataclass(frozen=True, slots=True)
class Bye(Control):
    """I leave, and the last numbers I gave are these."""

    heads: dict[str, int] = field(default_factory=dict[str, int])


# --------------------------------------------------------------------- data frames


@dataclass(slots=True)  # made for every frame: not frozen, which costs three times as much
class Batch:
    """A data frame's head: whose, which places, and where in the frame its values start.

    ``start`` is where its exchange starts (see `sequence`); ``first`` is behind that. Up to
    ``base`` nothing will come in any federation of its process that has not: before ``start``,
    where others had it first.
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


@dataclass(frozen=True, slots=True)
class Promise:
    """Heads as they were when an epoch was first announced; a name that is missing was at 0."""

    epoch: int
    heads: dict[str, int]

    def behind(self, heads: dict[str, int]) -> "Promise":
        """Return the promise with only the names whose head is another by now."""
        here = self.heads
        return Promise(self.epoch, {n: here.get(n, 0) for n in heads if here.get(n, 0) != heads[n]})

    def after(self, first: "Promise", wanted: Callable[[str], bool]) -> "Promise":
        """Return what this says together with one before it, that goes for what was wanted then."""
        before, heads = first.heads, dict(self.heads)
        for name in (*heads, *before.keys() - heads.keys()):
            if before.get(name, 0) != heads.get(name, 0) and wanted(name):
                heads[name] = before.get(name, 0)
        return Promise(self.epoch, heads)

    def of(self, names: Mapping[str, int]) -> "Promise":
        """Return the part of it that concerns some names."""
        return Promise(self.epoch, {n: head for n, head in self.heads.items() if n in names})


@dataclass(frozen=True, slots=True)
class Ready:
    """Proof on the data path: what ``origin`` sends from now on reaches ``receiver``.

    ``promised`` repeats what was said, and perhaps lost, at the first announcements of
    epochs that the receiver has not confirmed; names whose head is still the same are
    left out. ``starts`` is where exchanges in ``heads`` start, if not at 0, and ``bases`` has
    those of them that other federations of the process had first (see `Batch`). With many
    heads it comes in several frames, and this is ``part`` 1, 2, … of ``parts``. ``account`` is
    which of its accounts of the receiver ``origin`` goes by: later ones have higher numbers, and
    it begins one where it remembers nothing of the receiver; 0 if it does not say.

    With a ``number`` it is no proof, but tells the receiver to ``forget`` exchanges that it has
    all of, and up to which place. It comes this way so that it comes after all their messages.
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

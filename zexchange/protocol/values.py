"""The frozen values that flow between nodes and out of the protocol machine.

Control messages say what one node tells another; events say what a node tells its
user; effects say what the machine asks the shell around it to do. Nothing here
acts, and nothing here knows how a value is written on the wire.
"""

from dataclasses import dataclass
from typing import Any

VERSIONS = (1, 1)
"""The lowest and highest protocol version spoken here."""


@dataclass(frozen=True, slots=True)
class Label:
    """Who a node is, for people: its host, process and a name of its choice."""

    host: str
    pid: int
    name: str = ""

    def __str__(self) -> str:
        """Return the short form that logs and tables show."""
        return f"{self.name + '@' if self.name else ''}{self.host}:{self.pid}"


@dataclass(frozen=True, slots=True)
class Address:
    """One way to reach a node: its control (ROUTER) and its data (XPUB) endpoint."""

    control: str
    data: str


# --------------------------------------------------------------- control messages


@dataclass(frozen=True, slots=True)
class Hello:
    """I am here: the first words on a link, and the only ones a stranger may say."""

    sender: bytes
    federation: str
    label: Label
    addresses: tuple[Address, ...]
    epoch: int
    interest: tuple[str, ...]
    versions: tuple[int, int] = VERSIONS
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Welcome:
    """The answer to a hello: the same about me, and the peers that I know."""

    sender: bytes
    hello: Hello
    known: tuple[tuple[bytes, tuple[Address, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Refuse:
    """The answer to a hello that cannot be welcomed, and why."""

    sender: bytes
    reason: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Interest:
    """What the sender wants changed, from one epoch to the next, or in whole.

    ``base`` is the epoch that the change applies to; 0 replaces everything.
    ``confirmed`` is the last epoch that the receiver has proven on the data path.
    """

    sender: bytes
    epoch: int
    base: int
    confirmed: int
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ping:
    """I live; my interest is at ``epoch``; of yours I have announced ``announced``."""

    sender: bytes
    epoch: int
    announced: int


@dataclass(frozen=True, slots=True)
class Pong:
    """Your ping arrived on this link."""

    sender: bytes


@dataclass(frozen=True, slots=True)
class Resync:
    """Tell me your whole interest again: I missed a change of it."""

    sender: bytes


@dataclass(frozen=True, slots=True)
class Stranger:
    """I do not know you: say hello first."""

    sender: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    """Up to these numbers, my tasks have been given what you sent."""

    sender: bytes
    positions: dict[str, int]


@dataclass(frozen=True, slots=True)
class Bye:
    """I leave, and the last numbers I gave are these."""

    sender: bytes
    heads: dict[str, int]


Control = Hello | Welcome | Refuse | Interest | Ping | Pong | Resync | Stranger | Ack | Bye


# --------------------------------------------------------------------- data frames


@dataclass(frozen=True, slots=True)
class Batch:
    """A data frame's head: whose, which numbers, and where in the frame its values start."""

    name: str
    origin: bytes
    first: int
    count: int
    flags: int
    sent_at: float
    body: int


@dataclass(frozen=True, slots=True)
class Ready:
    """Proof on the data path: what ``origin`` sends from now on reaches ``receiver``."""

    receiver: bytes
    epoch: int
    origin: bytes
    heads: dict[str, int]


# -------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class PeerJoined:
    """A node has joined the federation."""

    peer: str
    label: Label


@dataclass(frozen=True, slots=True)
class PeerSilent:
    """Nothing was heard from a peer for a while; its connection is still there."""

    peer: str
    label: Label
    seconds: float


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """A peer is gone: it said so (``bye``), its process died (``gone``), or ``silent``."""

    peer: str
    label: Label
    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """Messages ``first`` to ``last`` of an origin on an exchange did not arrive, and will not."""

    exchange: str
    origin: str
    first: int
    last: int
    reason: str


@dataclass(frozen=True, slots=True)
class PeerSlow:
    """A peer acknowledges too slowly and holds nobody any more, or (``False``) has caught up."""

    peer: str
    label: Label
    slow: bool


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something that arrived was not taken: from where, why, and how often so far."""

    source: str
    reason: str
    count: int
    detail: str = ""


Event = PeerJoined | PeerSilent | PeerLeft | Lost | PeerSlow | Rejected


# ------------------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class Dial:
    """Open a control link to an endpoint."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the control link to an endpoint."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class Redial:
    """Replace the control link to an endpoint by a fresh one: this one answers nothing."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class Probe:
    """Find out whether anything listens at an endpoint, and report it to `Session.probed`."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class Say:
    """Send a message on the control link to an endpoint."""

    endpoint: str
    message: Control


@dataclass(frozen=True, slots=True)
class Reply:
    """Send a message back to where a control message came from."""

    route: Any
    message: Control


@dataclass(frozen=True, slots=True)
class Tune:
    """Receive a peer's data from an endpoint; again for the same peer: with a fresh socket."""

    peer: bytes
    endpoint: str


@dataclass(frozen=True, slots=True)
class Hush:
    """Stop receiving a peer's data, after what has already arrived."""

    peer: bytes


@dataclass(frozen=True, slots=True)
class Resubscribe:
    """Change what is received from every peer, and prove it under a new epoch."""

    epoch: int
    added: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Announce:
    """Publish, behind what was sent before, the heads of the names that ``keys`` cover.

    ``keys`` is ``None`` for everything that the peer is interested in.
    """

    peer: bytes
    epoch: int
    keys: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Remote interest changed: look again which exchanges need a bridge.

    ``keys`` are the names and patterns that gained or lost an interested peer.
    """

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tell:
    """Hand an event to the user."""

    event: Event


Effect = (
    Dial
    | HangUp
    | Redial
    | Probe
    | Say
    | Reply
    | Tune
    | Hush
    | Resubscribe
    | Announce
    | Wanted
    | Tell
)

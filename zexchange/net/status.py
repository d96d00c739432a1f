"""What a node says of itself and its peers: frozen snapshots for `Node.peers` and `Node.stats`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """One peer, as seen from here.

    Attributes:
        id: its node id, 32 hexadecimal digits; the origin of its messages.
        host: its host name, as it told us.
        pid: its process id there.
        name: its label, or an empty string.
        interest: the names and patterns that its tasks are attached to.
        since: when it was started, by its own clock, in seconds since the Unix epoch; when
            we first heard of it, if it does not say.
        ready: whether both directions are in force: what is sent on either side arrives.
        silent: whether nothing was heard from it for some seconds.
        control: the endpoint of our control link to it, or None while there is none.
    """

    id: str
    host: str
    pid: int
    name: str
    interest: tuple[str, ...]
    since: float
    ready: bool
    silent: bool
    control: str | None


@dataclass(frozen=True, slots=True)
class Received:
    """What has come of one origin on one exchange, in messages."""

    received: int
    duplicates: int
    lost: int
    recovered: int = 0


@dataclass(frozen=True, slots=True)
class NodeStats:
    """What a node has done so far.

    Attributes:
        sent: by exchange, the number of messages that left this node; the last one's number.
        received: by (exchange, origin), what came from peers, those that have left included.
        frames: data frames sent; many messages share one.
        unwanted: messages that arrived for names nothing here is attached to.
        rejected: by (source, reason), how often something that arrived was not taken.
        slow_tasks: by exchange and place, how often a task held the data thread.
        waited: seconds that senders have waited for room, all threads together.
    """

    sent: dict[str, int]
    received: dict[tuple[str, str], Received]
    frames: int
    unwanted: int
    rejected: dict[tuple[str, str], int]
    slow_tasks: dict[str, int]
    waited: float = 0.0

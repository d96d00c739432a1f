"""The facts that `Node.diagnose` collects, as frozen values.

Only `rules` draws conclusions from them. All values can be made by hand, which is how the rules
are tested.
"""

from dataclasses import dataclass, field

from ...local.sharing.roster import GroupStats
from .reach import Reach


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A control endpoint that was, or is being, dialled.

    Attributes:
        endpoint: the endpoint itself.
        found_by: ``static`` (``peers=``), ``dns``, ``lan``, ``rendezvous`` (this host),
            ``gossip`` (a peer told us), ``hello`` (it dialled us) or ``hub`` (``hub=``; or a hub
            told us, where the endpoint is that of a node).
        state: ``peer``, ``hub`` (it carries us), ``ourselves``, ``refused`` (by its node or
            hub) or ``dialing``.
        peer: the label of the node behind it, if that is known.
        reason: why its node refused us: ``federation``, ``version``, ``unreachable``, ``key``,
            ``permission``.
        text: that node's own words.
        reach: the result of a try by hand, where there is no peer.
    """

    endpoint: str
    found_by: str
    state: str
    peer: str = ""
    reason: str = ""
    text: str = ""
    reach: Reach | None = None


@dataclass(frozen=True, slots=True)
class Lookup:
    """A name in ``peers=``: the endpoints that it stands for, or why there are none."""

    endpoint: str
    found: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class PeerView:
    """A peer, and which connections between it and us work.

    Attributes:
        answers: whether our control link to it is answered.
        calls: whether it was heard on its own control link, which leads to us.
        heard: whether its messages are proven to reach us.
        hears: whether our messages are proven to reach it.
        control: the endpoint at which we dial it; ``data``: the one that we receive from.
        data_reach: the result of a try by hand: of its control port if that does not answer, else
            of its data port if it is not heard.
        silent: whether it has not been heard for three seconds.
        slow: whether it acknowledges too slowly; ``finds_us_slow``: whether it says so of us.
        clock: seconds by which its clock is ahead of ours; None if it did not tell.
        held: seconds for which a task has held its data thread; 0 if none does.
        room: for how many more peers it has descriptors; None if it did not tell.
        interest: the names and patterns that it wants.
        listens: whether it listens to the exchange in question; ``key``: by which of its keys.
        sent: the last number that it has given there, as far as we know; None if unknown.
        conflated: how many of our messages on conflated exchanges it has passed over for newer
            ones, or on the exchange in question; ``we_conflated``: how many of its messages we
            have.
        groups: the groups of the exchange in question in which it has members that this node sends
            to.
    """

    label: str
    host: str
    id: str
    answers: bool
    calls: bool
    heard: bool
    hears: bool
    control: str = ""
    data: str = ""
    data_reach: Reach | None = None
    silent: bool = False
    slow: bool = False
    finds_us_slow: bool = False
    clock: float | None = None
    held: float = 0.0
    room: int | None = None
    interest: tuple[str, ...] = ()
    listens: bool = False
    key: str = ""
    sent: int | None = None
    conflated: int = 0
    we_conflated: int = 0
    groups: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether everything works in both directions."""
        return self.answers and self.calls and self.heard and self.hears


@dataclass(frozen=True, slots=True)
class Picture:
    """One node and what it sees of its federation.

    Attributes:
        listens: the endpoints that it has bound.
        advertises: the pairs of endpoints that others are told to dial, control and data.
        rendezvous: where it looks for others on this host; ``elsewhere``: the places where some
            live and it does not look, because ``ZEXCHANGE_DIR`` is set.
        others: notes on other federations there, if it has no peer.
        lan: whether it asks the local network; ``around``: the endpoints that it found there.
        lookups: the names in ``peers=``, and what they stand for.
        held: seconds for which a task has held its data thread, 0 if none does; ``holder``: the
            exchange of that task.
        holders: by exchange and place, how often a task was found holding the thread.
        room: for how many more peers it has descriptors; None if there is no limit.
        hidden: whether no further process on this host can connect to it, for want of descriptors.
        unplaced: why no process on this host can find it, though they should; or empty.
        rejected: by (source, reason), how often something was rejected.
        decoder: what decodes messages that arrive, and its version.
        lock_kept: whether frames are sent and read with the interpreter's lock kept.
        exchange: the name that is in question, or empty; ``tasks``: how many are attached to it
            here; ``federated``: whether it takes part; ``groups``: its groups, as this process
            sends to them.
    """

    federation: str
    host: str
    id: str
    listens: tuple[str, ...] = ()
    advertises: tuple[tuple[str, str], ...] = ()
    rendezvous: str = ""
    elsewhere: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    lan: bool = False
    around: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    peers: tuple[PeerView, ...] = ()
    held: float = 0.0
    holder: str = ""
    holders: dict[str, int] = field(default_factory=dict[str, int])
    room: int | None = None
    hidden: bool = False
    unplaced: str = ""
    rejected: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    decoder: str = ""
    lock_kept: bool = True
    exchange: str = ""
    tasks: int = 0
    federated: bool = True
    groups: tuple[GroupStats, ...] = ()

"""What `Node.diagnose` has found: frozen values, all of them facts, none of them opinions.

What follows from them is the business of `rules`. Everything here can be made by hand,
which is how the opinions are tested.
"""

from dataclasses import dataclass, field

from .reach import Reach


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A control endpoint that was, or is being, dialled.

    Attributes:
        endpoint: what is dialled.
        found_by: ``static`` (``peers=``), ``dns``, ``lan``, ``rendezvous`` (this host),
            ``gossip`` (a peer's word), ``hello`` (it dialled us) or ``hub`` (``hub=``; or a
            hub's word, where the endpoint is that of a node).
        state: ``peer``, ``hub`` (it carries us), ``ourselves``, ``refused`` (by its node or
            hub) or ``dialing``.
        peer: the label of the node behind it, if that is known.
        reason: why its node refused us: ``federation``, ``version``, ``unreachable``, ``key``,
            ``permission``.
        text: that node's own words.
        reach: what a try by hand came to, where there is no peer.
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
    """A peer, and what works between it and us.

    Attributes:
        answers: our control link to it is answered.
        calls: it was heard on its own control link, which leads to us.
        heard: its messages are proven to reach us.
        hears: ours are proven to reach it.
        control: where we dial it, and ``data`` where we receive from it.
        data_reach: what a try of its data port came to, where it is not heard.
        silent: it has not been heard for three seconds.
        slow: it acknowledges too slowly; ``finds_us_slow``: it says so of us.
        clock: seconds by which its clock is ahead of ours; None if it did not tell.
        held: seconds for which a task has held its data thread; 0 if none does.
        room: for how many more peers it has descriptors; None if it did not tell.
        listens: whether it listens to the named exchange, and ``key``, by which of its keys.
        sent: the last number that it has given there, as far as we know; None if unknown.
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

    @property
    def ready(self) -> bool:
        """Whether everything works, both ways."""
        return self.answers and self.calls and self.heard and self.hears


@dataclass(frozen=True, slots=True)
class Picture:
    """One node and what it sees of its federation.

    Attributes:
        listens: the endpoints that it has bound.
        advertises: what others are told to dial, control and data.
        rendezvous: where on this host others were looked for, and ``elsewhere`` the places where
            some live and were not, because ``ZEXCHANGE_DIR`` is set.
        others: what there is to say of other federations there, if there is no peer.
        lan: whether the local network is asked, and ``around`` what it has answered.
        held: seconds for which a task has held our own data thread, and ``holder`` which.
        holders: by exchange and place, how often one was found doing so.
        room: for how many more peers there are descriptors; None if that has no end.
        hidden: nobody on this host can connect to us anew, for want of descriptors.
        unplaced: why nobody on this host can find us, though they should; or empty.
        rejected: by (source, reason), how often something was not taken.
        exchange: the exchange that is asked about; ``tasks`` are attached to it here,
            and it is ``federated`` if it takes part.
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
    exchange: str = ""
    tasks: int = 0
    federated: bool = True

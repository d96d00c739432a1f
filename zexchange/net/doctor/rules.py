"""Judges a `Picture`: findings on what is wrong, worst and likeliest first.

These are pure functions. Each rule looks at one kind of trouble, and says in a sentence what is
wrong, with what, and what to do. The rules stand in the order in which causes hide each other: a
peer that is not there cannot be half open, and a peer that is half open cannot listen.

All rules are in one file, so that their order can be read at a glance. Most of it is their texts.
"""

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ...names import is_pattern
from ..transport.endpoints import host_of, parse_tcp
from .reach import Reach
from .snapshot import PeerView, Picture

CLOCKS_APART = 1.0
"""Seconds by which clocks may differ without a finding."""
FEW = 4
"""A process that has descriptors for fewer further peers than that gets a finding."""
HEARSAY = ("gossip", "hello")


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a rule.

    Attributes:
        wrong: whether messages do not arrive because of it; if not, it is only a note.
        about: an endpoint, a peer's label, or an exchange.
        text: a sentence or two: what is wrong, and what to do.
    """

    wrong: bool
    about: str
    text: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The facts about a node, the findings, and a conclusion.

    Attributes:
        picture: the facts.
        findings: likeliest cause first.
        healthy: whether nothing is wrong.
        conclusion: one sentence: the likeliest cause, or that all is well.
    """

    picture: Picture
    findings: tuple[Finding, ...]
    healthy: bool
    conclusion: str

    def __str__(self) -> str:
        """Return the findings, one a line, and the conclusion."""
        lines = [f"{'wrong' if f.wrong else 'note'}: {f.about}: {f.text}" for f in self.findings]
        return "\n".join([*lines, self.conclusion])


def diagnose(picture: Picture) -> Diagnosis:
    """Judge a picture."""
    found = [finding for rule in RULES for finding in rule(picture)]
    if not picture.peers and not any(finding.wrong for finding in found):
        found.append(_nobody(picture))
    found.sort(key=lambda finding: not finding.wrong)  # stable: otherwise in the order of the rules
    healthy = not any(finding.wrong for finding in found)
    conclusion = _all_well(picture) if healthy else f"Likeliest cause: {found[0].text}"
    return Diagnosis(picture, tuple(found), healthy, conclusion)


def _all_well(p: Picture) -> str:
    n = len(p.peers)
    peers = "1 peer is" if n == 1 else f"{n} peers are"
    text = f"Nothing is wrong: {peers} ready both ways"
    if not p.exchange:
        return text + "."
    listeners = sum(peer.listens for peer in p.peers)
    return f"{text}, and {listeners} of them listen{'s' * (listeners == 1)} to {p.exchange!r}."


# ------------------------------------------------------------------------------ who is there


def out_of_sight(p: Picture) -> Iterator[Finding]:
    """No process on this host can find us, or connect to us."""
    if p.hidden:
        text = (
            "This process has so few file descriptors left that nobody on this host can connect to "
            "it anew: raise its limit (ulimit -n), or close files."
        )
        yield Finding(True, "This process", text)
    if p.unplaced:
        text = (
            "Nobody on this host can find this process any more: its sockets, or its file beside "
            f"them, were removed, and cannot be made again: {p.unplaced}."
        )
        yield Finding(True, "This process", text)


def sent_away(p: Picture) -> Iterator[Finding]:
    """A node has dialled us that is in another federation, or speaks another version."""
    what = {"federation": "is in another federation", "version": "speaks another version"}
    for source, reason in p.rejected:
        if reason in what:
            text = (
                f"{source} has called and was sent away: it {what[reason]}. Use one federation "
                "name, and versions that are not far apart."
            )
            yield Finding(not p.peers, source, text)


def _nobody(p: Picture) -> Finding:
    """Return the finding that there is no peer, where no rule knows why."""
    asked: list[str] = []
    if p.rendezvous:
        asked.append(f"no process of this user on this host (in {p.rendezvous})")
    if any(e.state == "ourselves" for e in p.endpoints) or p.lookups:
        asked.append("nobody but this node at the peers that were named")
    if p.lan:
        asked.append("nobody on the local network")
    where = ", and ".join(asked) or "no place to look in was given"
    hint = (
        "Is the other program running, and calls federate(), as the same user, with the same "
        "federation name and ZEXCHANGE_DIR?"
        if p.rendezvous and len(asked) == 1
        else "Is the other program running, with the same federation name?"
    )
    if p.elsewhere:
        hint = (
            f"Nodes of it live in {' and '.join(p.elsewhere)}, where this one does not look, "
            "because ZEXCHANGE_DIR is set here: set it there, too, or for none."
        )
    hint = " ".join([hint, *(f"{told[0].upper()}{told[1:]}." for told in p.others)])
    more = "" if len(asked) > 1 else " For another host, name its address: peers=, --peer."
    text = f"Nobody else is in federation {p.federation!r}: {where}. {hint}{more}"
    return Finding(True, p.federation, text)


def names(p: Picture) -> Iterator[Finding]:
    """A name in ``peers=`` has no address."""
    for lookup in p.lookups:
        if lookup.why:
            host = parse_tcp(lookup.endpoint).host
            text = f"The name {host!r} cannot be resolved: {lookup.why}."
            after = " What it stood for before is dialled on." if lookup.found else ""
            yield Finding(True, lookup.endpoint, text + after + " Check it, and the name server.")


REFUSALS = {
    "federation": "{who} is in another federation{said}: use one name on both sides.",
    "version": "{who} speaks another version of the protocol{said}: upgrade the older one.",
    "unreachable": "{who} cannot reach any address that we are told to be at ({told}): use listen= "
    "with an address of this host, and advertise= if others know another.",
    "key": "{who} does not know our key{said}: put our .pub file into its authorized/.",
    "identity": "{who} knows another key of us{said}: join again with the key that it knows.",
    "taken": "{who} has heard of us by another connection{said}: it lets us in in a moment.",
    "permission": "{who} does not permit it{said}: see its permissions.toml.",
}
"""The texts about a node that refuses us, by its reason."""


def refusals(p: Picture) -> Iterator[Finding]:
    """A node or hub is there and refuses us."""
    told = ", ".join(control for control, _ in p.advertises)
    for e in p.endpoints:
        if e.state == "refused":
            who = f"The {'hub' if e.found_by == 'hub' else 'node'} at {e.endpoint}"
            said = f" ({e.text})" if e.text else ""
            text = REFUSALS.get(e.reason, "{who} refuses us: {reason}{said}.")
            text = text.format(who=who, said=said, told=told, reason=e.reason)
            yield Finding(True, e.endpoint, text)


def unreached(p: Picture) -> Iterator[Finding]:
    """An endpoint has led to no peer."""
    half = {peer.control for peer in p.peers}
    for e in p.endpoints:
        if e.state != "dialing" or e.reach is None or e.endpoint in half:
            continue
        # A node that has ended is dialled for ten more minutes, in case it comes back.
        if e.found_by not in HEARSAY or e.reach.outcome not in ("refused", "removed"):
            yield Finding(e.found_by not in HEARSAY, e.endpoint, _why(e.endpoint, e.reach))


OUTCOMES = {
    "unresolved": "The host of {0} cannot be resolved: {1}.",
    "no route": "There is no way to {0} from here: {1}. Check address and network.",
    "forbidden": "This host may not connect to {0}: {1}. Check its own firewall.",
    "refused": "Nothing listens at {0}: its host is there and refuses. Is the program running, and "
    "with listen= on that port and on an address that is not loopback?",
    "timeout": "{0} does not answer: its host is down, the address is wrong, or a firewall drops "
    "what we send.",
    "mute": "Something listens at {0} and does not say what it is ({1}): another program's port, "
    "or a process that is stopped.",
    "removed": "The socket {0} of a node that lives is not there: something has removed it, a "
    "cleaner of temporary files or the end of a login. Its process makes it again within some "
    "seconds; ZEXCHANGE_DIR names a place that is not cleaned.",
    "hidden": "The node at {0} lets nobody connect anew, for its process has few file descriptors "
    "left: raise its limit (ulimit -n), or close files there.",
    "not ours": "What listens at {0} is not zexchange: {1}. Check the port.",
    "zmq": "What listens at {0} is ZeroMQ, but not zexchange ({1}).",
    "data port": "{0} is a node's data port: name its control port, which is the one before it "
    "unless listen= says otherwise.",
    "keys": "{0} admits only who has keys ({1}), and either we use none or it does not know ours: "
    "see keys=.",
    "ok": "A node listens at {0} and has not answered: its process is stopped, or busy in one long "
    "call that holds its interpreter.",
}
"""Why nobody answers at an endpoint, and what to do, by the outcome of a try by hand."""


def _why(endpoint: str, reach: Reach) -> str:
    return OUTCOMES.get(reach.outcome, OUTCOMES["ok"]).format(endpoint, reach.detail)


# ---------------------------------------------------------------------------- half-open ways


def half_open(p: Picture) -> Iterator[Finding]:
    """A peer is known and something works in one direction only."""
    for peer in p.peers:
        # A node whose data thread is held connects to no new peer: `held_up` has the cause.
        if not (peer.ready or peer.held or p.held):
            yield Finding(True, peer.label, _half(p, peer))


def _half(p: Picture, peer: PeerView) -> str:
    who = peer.label
    if peer.silent and not (peer.calls or peer.answers):
        return (
            f"{who} was there and has gone silent: its process is stopped or busy in one long "
            "call, or the network between us is down."
        )
    if _of_this_host(p, peer):
        return _half_here(peer)
    if not peer.calls and not peer.hears:
        return _cannot_come(p, peer)
    if not peer.answers:
        why = f" {_why(peer.control, peer.data_reach)}" if peer.data_reach else ""
        return (
            f"{who} reaches us and we cannot reach it at {peer.control or 'its address'}: a "
            f"firewall or address translation in front of it, or a wrong advertise= there.{why}"
        )
    if not peer.heard:
        return _unheard(peer)
    if peer.hears:
        return (
            f"{who} hears our messages and cannot acknowledge them: our control port "
            f"({_own(p, 0)}) does not let it in. Open both ports in this host's firewall."
        )
    return (
        f"{who} reaches us for control but does not hear our messages: our data port "
        f"({_own(p, 1)}) does not let it in. Open both ports in this host's firewall."
    )


def _of_this_host(p: Picture, peer: PeerView) -> bool:
    """Return whether a peer and we meet by Unix sockets, which have no ports."""
    if peer.control:
        return peer.control.startswith("ipc:")
    return all(control.startswith("ipc:") for control, _ in p.advertises)


def _half_here(peer: PeerView) -> str:
    """Return what does not work yet between us and a peer on this host, so with no firewall."""
    if not peer.answers:
        lacks = f"does not answer at {peer.control or 'its Unix socket'}"
    elif not peer.heard:
        lacks = "has not let us receive its messages yet"
    elif not peer.hears:
        lacks = "has not received our messages yet"
    else:
        lacks = "hears our messages and has not connected to acknowledge them yet"
    return (
        f"{peer.label} is on this host and {lacks}. It may have joined just now; if this lasts, "
        "its process is stopped, busy in one long call, or has no file descriptors left."
    )


def _own(p: Picture, which: int) -> str:
    """Return our control (0) or data (1) port, as others know it."""
    told = [pair[which] for pair in p.advertises if pair[which].startswith("tcp:")]
    ports = [parse_tcp(endpoint) for endpoint in told]
    return ", ".join(f"port {tcp.port}" if tcp.wild else str(tcp) for tcp in ports)


DATA_PORT = {
    "refused": " (nothing listens there)",
    "removed": " (its socket was removed)",
    "timeout": " (it does not answer)",
    "no route": " (there is no way to it)",
    "forbidden": " (this host may not connect to it)",
}
"""The remarks on a peer's data port, by the outcome of a try by hand."""


def _unheard(peer: PeerView) -> str:
    """Return why we do not receive from a peer that answers."""
    who = peer.label
    why = DATA_PORT.get(peer.data_reach.outcome, "") if peer.data_reach else ""
    if host_of(peer.data) != host_of(peer.control):
        return (
            f"We reach {who} at {peer.control} but do not hear its messages: it tells us to "
            f"receive them from {peer.data}{why}. Check advertise= there."
        )
    return (
        f"We reach {who} for control but do not hear its messages: its data port "
        f"({peer.data}) does not let us in{why}. Open both ports in its firewall."
    )


def _cannot_come(p: Picture, peer: PeerView) -> str:
    """Return why a peer that we reach does not reach us."""
    told = [control for control, _ in p.advertises if control.startswith("tcp:")]
    loop = [control for control in told if parse_tcp(control).loopback]
    if loop and peer.host != p.host:
        return (
            f"{peer.label} is on another host and is told to dial {loop[0]}, which is itself: "
            "listen on an address that it can reach (listen='tcp://0.0.0.0:PORT')."
        )
    wild = [control for control in told if parse_tcp(control).wild]
    where = (
        f"port {parse_tcp(wild[0]).port} and the next one at the address it sees us come from"
        if wild
        else ", ".join(told) or "our address"
    )
    return (
        f"We reach {peer.label} and it cannot reach us: it dials {where}. Open both ports in "
        "this host's firewall; behind address translation say advertise=."
    )


def without_address(p: Picture) -> Iterator[Finding]:
    """A node has dialled us that we cannot reach, so it is no peer."""
    for source, reason in p.rejected:
        if reason == "unreachable":
            text = (
                f"{source} calls and gives no address that can be dialled from here: it needs "
                "listen= with an address of its host that we can reach."
            )
            yield Finding(True, source, text)


# --------------------------------------------------------------------------- what holds it up


KEYS = {
    "key unknown there": "The node at {0} does not know our key: put our node.pub there, into the "
    "authorized/ of its key directory.",
    "wrong key": "The node at {0} has none of the keys that are authorized here: put its node.pub "
    "into authorized/ of our key directory.",
    "not encrypted there": "The node at {0} has no keys and we have: give it keys, too.",
    "encrypted there": "The node at {0} has keys and we have none: use keys= (--keys).",
    "no hub's key": "The node at {0} has a key that may not carry others here: write hub = true "
    "under its name in permissions.toml of our key directory.",
    "key unknown": "Somebody comes from {0} with a key that is not authorized here: put its "
    "node.pub into authorized/ of our key directory.",
    "no key": "Somebody comes to our {0} port without keys: give it keys, too.",
    "not our key": "Somebody comes to our {0} port and expects another key than ours: give it our "
    "node.pub.",
}
"""The texts about a connection that failed over keys, by reason; ``{0}`` is where."""


def keys(p: Picture) -> Iterator[Finding]:
    """A connection was refused because of keys."""
    linked = {e.endpoint for e in p.endpoints if e.state in ("peer", "hub")}
    hubs = {e.endpoint for e in p.endpoints if e.found_by == "hub"}
    for source, reason in p.rejected:
        if reason in KEYS and source not in linked:
            dialled = any(e.endpoint == source for e in p.endpoints)
            text = KEYS[reason].format(source)
            text = text.replace("The node at", "The hub at") if source in hubs else text
            yield Finding(dialled or not p.peers, source, text)


def held_up(p: Picture) -> Iterator[Finding]:
    """A task holds a data thread, here or at a peer."""
    if p.held:
        yield Finding(True, p.holder, _held("this node's", p.held, p.holder))
    for peer in p.peers:
        if peer.held:
            log = f"the log of {peer.label} names it"
            yield Finding(True, peer.label, _held(f"{peer.label}'s", peer.held, log))
    for place, count in p.holders.items():
        if not p.held:
            text = f"A task has held this node's data thread, {count} times: {place}."
            yield Finding(False, place, text)


def _held(whose: str, seconds: float, which: str) -> str:
    return (
        f"A task has held {whose} data thread for {seconds:.0f} s, and nothing is delivered "
        f"there meanwhile ({which}): take slow work off it with stream() or to_thread()."
    )


SLOW = (
    "{0} acknowledges too slowly and is waited for no more: what it misses is lost once it is not "
    "kept any longer. Its tasks are too slow, or it is stopped."
)
FINDS_US_SLOW = (
    "{0} finds this node too slow and does not wait for it any more: its tasks are too slow for "
    "what is sent."
)


def slow(p: Picture) -> Iterator[Finding]:
    """A peer cannot keep up with us, or we cannot with it."""
    for peer in p.peers:
        for true, text in ((peer.slow, SLOW), (peer.finds_us_slow, FINDS_US_SLOW)):
            if true:
                yield Finding(True, peer.label, text.format(peer.label))


def descriptors(p: Picture) -> Iterator[Finding]:
    """A process has file descriptors left for few further peers, or for none."""
    own = [] if p.hidden else [("This process", p.room)]
    for who, room in [*own, *((peer.label, peer.room) for peer in p.peers)]:
        if room is not None and room < FEW:
            left = "no further peer" if not room else f"{room} more peers"
            text = f"{who} has file descriptors left for {left}: raise its limit (ulimit -n)."
            yield Finding(True, who, text)


# ------------------------------------------------------------------------------- the exchange


def interest(p: Picture) -> Iterator[Finding]:
    """No peer listens to the exchange in question, perhaps because of a wrong name."""
    if not p.exchange or not p.peers:
        return
    if not p.federated:
        text = f"{p.exchange!r} is not shared: exchanges= of this node leaves it out."
        yield Finding(True, p.exchange, text)
    elif not any(peer.listens or peer.groups for peer in p.peers):
        near = _near(p)
        hint = (
            f" Listened to is {', '.join(map(repr, near))}: see names and levels." if near else ""
        )
        text = f"Nobody listens to {p.exchange!r}: no task is attached to it at any peer.{hint}"
        yield Finding(True, p.exchange, text)


def groups(p: Picture) -> Iterator[Finding]:
    """The groups of the exchange in question have members, or no longer, and work."""
    for g in p.groups:
        about = f"Group {g.group!r} of {p.exchange!r}"
        busy = g.under_way or g.owed
        waiting = f": {g.under_way:,} messages of this process are under way, {g.owed:,} wait"
        if not g.members:
            text = (
                f"{about} has no member left: {g.owed:,} messages of this process wait for one, for"
                " 30 s after the last has gone."
            )
            yield Finding(True, p.exchange, text)
        else:
            text = (
                f"{about} has {g.members} member{'s' * (g.members > 1)}{waiting if busy else ''}."
            )
            yield Finding(False, p.exchange, text)
        if g.lost:
            text = (
                f"{about}: {g.lost:,} messages of this process were lost, as no member was there."
            )
            yield Finding(False, p.exchange, text)


def conflated(p: Picture) -> Iterator[Finding]:
    """On a conflated exchange messages were passed over: that is meant, and may be unexpected."""
    for peer in p.peers:
        for count, who, whose in (
            (peer.conflated, peer.label, "this node"),
            (peer.we_conflated, "This node", peer.label),
        ):
            if count:
                text = (
                    f"{who} has passed over {count:,} messages of {whose} for newer ones: only the "
                    "newest counts on a conflated exchange, and these came faster than they were "
                    "taken."
                )
                yield Finding(False, peer.label, text)


def _near(p: Picture) -> list[str]:
    """Return the names and patterns that peers listen to and that may have been meant."""
    keys = sorted({key for peer in p.peers for key in peer.interest})
    wanted = p.exchange
    first = wanted.split(".")[0].lower()
    alike = difflib.get_close_matches(wanted, [k for k in keys if not is_pattern(k)], cutoff=0.7)
    same = [k for k in keys if k.lower() == wanted.lower()]
    levels = [k for k in keys if is_pattern(k) and k.split(".")[0].lower() == first]
    return list(dict.fromkeys([*same, *alike, *levels]))[:5]


def clocks(p: Picture) -> Iterator[Finding]:
    """Clocks differ: no message is lost by that, but the times in them mislead."""
    for peer in p.peers:
        if peer.clock is not None and abs(peer.clock) > CLOCKS_APART:
            way = "ahead of" if peer.clock > 0 else "behind"
            text = (
                f"The clock of {peer.label} is {abs(peer.clock):.1f} s {way} ours: messages "
                "arrive all the same, but the times in them mislead."
            )
            yield Finding(False, peer.label, text)


Rule = Callable[[Picture], Iterator[Finding]]
RULES: tuple[Rule, ...] = (
    out_of_sight,
    sent_away,
    names,
    refusals,
    keys,
    held_up,
    half_open,
    without_address,
    unreached,
    slow,
    descriptors,
    groups,
    interest,
    conflated,
    clocks,
)

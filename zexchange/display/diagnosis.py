"""A diagnosis as rows of text: what `zexchange doctor` prints, and a page shows.

The code is pure. It only says what was found in the words that users read: all knowledge about
problems and their causes is in `Node.diagnose`. Text from peers is made `printable`.
"""

from collections.abc import Sequence

from zexchange import Diagnosis

from .text import printable

Row = tuple[str, ...]
FOUND_BY = {
    "static": "peers=",
    "dns": "name",
    "lan": "network",
    "rendezvous": "this host",
    "gossip": "a peer",
    "hello": "its call",
}
STATE = {
    "peer": "{peer}",
    "hub": "carries us",
    "ourselves": "this node itself",
    "refused": "sent us away: {reason}",
}
RESULT = {
    "ok": "a node that does not answer",
    "data port": "a data port",
    "keys": "wants keys",
    "zmq": "not zexchange",
    "unresolved": "no address",
    "refused": "nothing listens",
    "timeout": "no answer",
    "mute": "says nothing",
    "hidden": "lets nobody connect",
    "removed": "its socket was removed",
    "not ours": "not zexchange",
}
WILD = ("0.0.0.0", "*", "[::]")


def facts(found: Diagnosis) -> list[Row]:
    """Return facts about this node, as pairs of name and value."""
    p = found.picture
    rows: list[Row] = [("federation", p.federation), ("seen from", f"{p.host}, node {p.id[:8]}")]
    rows.append(("listens on", " and ".join(p.listens) or "Unix sockets of this host only"))
    told = [control for control, _ in p.advertises if control.startswith("tcp:")]
    if told and told != list(p.listens[:1]):
        rows.append(("advertises", ", ".join(told)))
    elif any(wild in told[0] for wild in WILD) if told else False:
        rows.append(("advertises", "the address that each peer sees it come from"))
    rows += [(n.endpoint, n.why or f"{len(n.found)} addresses") for n in p.lookups]
    if p.lan:
        rows.append(("local network", f"{len(p.around)} endpoints found"))
    if p.room is not None:
        rows.append(("descriptors", f"left for {p.room} more peers"))
    rows.append(("decodes by", p.decoder))
    if not p.lock_kept:
        rows.append(("sends by", "pyzmq's own calls: a thread that computes delays them by 5 ms"))
    return _shown(rows)


def candidates(found: Diagnosis) -> list[Row]:
    """Return the dialled endpoints as rows; the first row has the headings."""
    rows: list[Row] = [("DIALLED", "FOUND BY", "RESULT")]
    for e in found.picture.endpoints:
        outcome = e.reach.outcome if e.reach else "timeout"
        tried = RESULT.get(outcome, outcome)
        result = STATE.get(e.state, tried).format(peer=e.peer, reason=e.reason)
        rows.append((e.endpoint, FOUND_BY.get(e.found_by, e.found_by), result))
    return _shown(rows)


def peers(found: Diagnosis) -> list[Row]:
    """Return the peers as rows; the first row has the headings."""
    p = found.picture
    asked = ("LISTENS", "SENT") if p.exchange else ()
    rows: list[Row] = [("PEER", "WE HEAR IT", "IT HEARS US", "CLOCK", *asked)]
    for peer in p.peers:
        clock = "?" if peer.clock is None else f"{round(peer.clock, 1) or 0.0:+.1f} s"
        sent = "?" if peer.sent is None else str(peer.sent)
        groups = [f"group {group}" for group in peer.groups]
        listens = (", ".join(filter(None, [peer.key, *groups])) or "-", sent) if p.exchange else ()
        heard = "yes" if peer.heard and peer.answers else "no"
        hears = "yes" if peer.hears and peer.calls else "no"
        rows.append((peer.label, heard, hears, clock, *listens))
    return _shown(rows)


def findings(found: Diagnosis, aside: str) -> list[Row]:
    """Return the findings without the conclusion, and the note ``aside``, as pairs."""
    rest = [f for f in found.findings if not found.conclusion.endswith(f.text)]
    rows = _shown([("wrong" if f.wrong else "note", f.text) for f in rest])
    return [*rows, ("note", aside)] if aside else rows


def _shown(rows: Sequence[Row]) -> list[Row]:
    """Return rows with control characters escaped, since much of the text comes from peers."""
    return [tuple(map(printable, row)) for row in rows]

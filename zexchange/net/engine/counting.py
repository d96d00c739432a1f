"""Tells peers what flows at this node. Control thread only.

Nothing is counted here until somebody asks; then the node looks at what its parts have counted. It
looks again when it is asked again, and stops when nobody has asked for `LOOKED_AT_FOR` seconds. A
question for the next part of an answer is answered from the last look.
"""

from collections.abc import Callable

from ...history import FRAME_OVERHEAD, Frame
from ...local.registry import Registry
from ...protocol.delivery.sequence import ReceiveCounts
from ...protocol.interest.interest import NameSet
from ...protocol.session.session import Session
from ...protocol.traffic.counts import Counts
from ...protocol.wire.limits import MAX_COUNTED
from ...protocol.wire.messages import Count, Counted, ExchangeCount
from ..inbound.receiver import Receiver
from ..outbound.bridges import Bridges
from ..outbound.counting import SendCounts
from ..outbound.publisher import Publisher
from .environment import NodeEnvironment
from .watchdog import Watchdog

LOOKED_AT_FOR = 10.0
"""Seconds after the last question for which a node goes on counting."""
RESTS = 20
"""How many times as long as it took a look is used again: so looks take a twentieth of a
processor at most, however many exchanges there are and however many nodes ask."""
AT_ONE_MOMENT = 0.0005
"""Seconds that reading the counts may take; if it takes longer, another thread ran in between."""
TRIES = 5


class NodeCounts:
    """The counts of one node.

    Args:
        session: the session.
        outbound: numbers what is sent, and keeps what is not acknowledged.
        bridges: lead from exchanges to it.
        inbound: counts what is received.
        registry: has the exchanges.
        federated: returns whether an exchange takes part in the federation.
        watch: counts slow tasks.
        world: the clock.
    """

    def __init__(
        self,
        session: Session,
        outbound: Publisher,
        bridges: Bridges,
        inbound: Receiver,
        registry: Registry,
        federated: Callable[[str], bool],
        watch: Watchdog,
        world: NodeEnvironment,
    ) -> None:
        self._session = session
        self._outbound = outbound
        self._inbound = inbound
        self._watch = watch
        self._monotonic = world.monotonic
        self._sends = SendCounts(registry, outbound, bridges, federated)
        self._counts = Counts()
        self._looking = False
        self._asked_at = self._look_at = 0.0

    def __len__(self) -> int:
        """Return how many exchanges are counted."""
        return len(self._counts)

    def answer(self, asked: Count, keys: tuple[str, ...]) -> Counted:
        """Return a part of the counts of the exchanges that ``keys`` cover."""
        now = self._asked_at = self._monotonic()
        counts = self._counts
        if not self._looking:
            self._looking = True
            counts.begin()
            self._sends.begin()
            self._look()
        elif not asked.after and now >= self._look_at:
            self._look()
        covers = NameSet(keys).covers
        rows, more = counts.part(covers, asked.began, asked.look, asked.after)
        told = asked.request, counts.began, counts.look, counts.at, rows, more
        slow = tuple(self._outbound.window.slow_peers())[:MAX_COUNTED]
        return Counted(self._session.me, *told, {} if more else self._figures(), slow)

    def tick(self, now: float) -> None:
        """Let time pass: add up bytes, or stop counting if nobody asks any longer."""
        if self._looking:
            if now - self._asked_at >= LOOKED_AT_FOR:
                self.end()
            else:
                self._sends.add_up()

    def claimed(self, name: str, frame: Frame) -> None:
        """Take note that a peer is sent the newest message of a conflated exchange."""
        if self._looking:
            self._sends.claimed(name, frame.size - FRAME_OVERHEAD)

    def end(self) -> None:
        """Stop counting; nothing of it is left."""
        if self._looking:
            self._looking = False
            self._sends.end()
            self._counts.begin()

    def _look(self) -> None:
        began = self._monotonic()
        self._sends.place()
        self._sends.add_up()
        sent, size, at = self._at_one_moment()
        self._counts.take(self._rows(sent, size), at)
        now = self._monotonic()
        self._look_at = now + RESTS * (now - began)

    def _at_one_moment(self) -> tuple[dict[str, int], dict[str, int], float]:
        """Return the messages and bytes sent by exchange, and when that was."""
        tries = TRIES
        while True:
            before = self._monotonic()
            sent, size = self._sends.counts()
            after, tries = self._monotonic(), tries - 1
            if after - before < AT_ONE_MOMENT or not tries:
                return sent, size, (before + after) / 2

    def _rows(self, sent: dict[str, int], size: dict[str, int]) -> list[ExchangeCount]:
        """Return the counts of all exchanges on which something has flowed."""
        received, slowest = self._received(), self._slowest(sent)
        nobody = 0, b""
        rows: list[ExchangeCount] = []
        # In a flood on many exchanges all caches are cold, and each step takes its time.
        for name, count in sent.items():
            if name in received:
                continue
            messages, peer = slowest.get(name, nobody)
            rows.append(ExchangeCount(name, count, size.get(name, 0), 0, 0, 0, messages, peer))
        for name, there in received.items():
            messages, peer = slowest.get(name, nobody)
            counts = there.received, there.lost, there.conflated, messages, peer
            rows.append(ExchangeCount(name, sent.get(name, 0), size.get(name, 0), *counts))
        return rows

    def _received(self) -> dict[str, ReceiveCounts]:
        """Return what was received, by exchange, of all origins together."""
        found: dict[str, ReceiveCounts] = {}
        shared = set[str]()
        for where in self._inbound.positions().values():
            for name, counts in dict(where.tallies).items():
                before = found.get(name)
                if before is None:
                    found[name] = counts
                    continue
                if name not in shared:  # a sum, which is not the count of another origin
                    shared.add(name)
                    found[name] = ReceiveCounts()
                    found[name].add(before)
                found[name].add(counts)
        return found

    def _slowest(self, sent: dict[str, int]) -> dict[str, tuple[int, bytes]]:
        """Return, by exchange, the peer that has acknowledged the least, slow or not."""
        numbering, window = self._outbound.numbering, self._outbound.window
        peers = self._session.members.peers
        found: dict[str, tuple[int, bytes]] = {}

        heads = numbering.heads
        for name, (first, peer) in window.oldest_held().items():
            if peer in peers:
                found[name] = heads.get(name, first) - first + 1, peer
        for peer in window.slow_peers().keys() & peers.keys():
            promised, acked = window.promised(peer), peers[peer].acked
            for name in sent:
                if promised.covers(name):
                    least = heads.get(name, 0) - max(acked.get(name, 0), numbering.start(name))
                    if least > 0 and (name not in found or least > found[name][0]):
                        found[name] = min(least, sent[name]), peer
        return found

    def _figures(self) -> dict[str, int]:
        """Return the figures of the node, by their names in the protocol."""
        used, window, _ = self._outbound.window.filled()
        return {
            "exchanges": self._counts.flowing,
            "peers": len(self._session.members.peers),
            "used": used,
            "window": window,
            "waited": int(self._outbound.window.room.waited * 1e6),
            "slow_tasks": sum(self._watch.holders.values()),
            "rejected": sum(self._session.rejections.values()),
        }

"""The map of hubs: which there are, how they are linked, which nodes each carries, and routes.

This is link-state routing. Every hub announces its state to all others (`HubState`), so that all
have the same map, some sooner than others. A data frame follows a tree whose root is the hub at
which it entered; each hub computes the tree for itself. Equal maps give equal trees, so frames
do not loop and arrive once. While maps differ they might loop; then numbers (`DuplicateFilter`)
and hop counts stop them. No clock, no socket.
"""

from collections import deque
from collections.abc import Iterator
from hashlib import sha256

from ..wire.envelopes import FrameInfo
from .messages import HubState

MAX_HUBS = 256
"""The most hubs that are remembered, including those that cannot be reached."""
MAX_SEEN = 100_000
"""The most pairs of origin and exchange whose last number is remembered."""


class Topology:
    """The hubs of a federation as the hub ``me`` knows them."""

    def __init__(self, me: bytes) -> None:
        self.me = me
        self.states: dict[bytes, HubState] = {me: HubState(me, 0)}
        self._forget()

    def take(self, state: HubState) -> bool:
        """Take the state of a hub, or our own; return whether it was new."""
        known = self.states.get(state.sender)
        if known is not None and known.number >= state.number:
            return False
        if known is None and len(self.states) >= MAX_HUBS:
            for hub in [hub for hub in self.states if hub not in self.ways]:
                del self.states[hub]
            if len(self.states) >= MAX_HUBS:
                return False
        self.states[state.sender] = state
        self._forget()
        return True

    def _forget(self) -> None:
        """Drop everything that was computed from the former map."""
        self._trees: dict[bytes, dict[bytes, bytes]] = {}
        self._digest = 0
        self._homes: dict[bytes, bytes] | None = None
        self._carried: dict[bytes, frozenset[bytes]] = {}
        self._branches: dict[tuple[bytes, bytes], tuple[bytes, ...]] = {}

    def _linked(self, hub: bytes) -> Iterator[bytes]:
        """Yield the hubs that a hub is linked to, if both say so."""
        for other in sorted(self.states[hub].hubs):
            state = self.states.get(other)
            if state is not None and hub in state.hubs:
                yield other

    def tree(self, root: bytes) -> dict[bytes, bytes]:
        """Return, for each hub that can be reached from ``root``, the previous one on the way."""
        tree = self._trees.get(root)
        if tree is None:
            tree = self._trees[root] = {}
            if root in self.states:
                tree[root] = root
                queue = deque([root])
                while queue:
                    hub = queue.popleft()
                    for other in self._linked(hub):
                        if other not in tree:
                            tree[other] = hub
                            queue.append(other)
        return tree

    @property
    def ways(self) -> dict[bytes, bytes]:
        """The hubs that can be reached, including this one, and the previous one before each."""
        return self.tree(self.me)

    @property
    def digest(self) -> int:
        """A hash of the map: equal at hubs that can reach each other if their maps are equal."""
        if not self._digest:
            states = sorted((hub, self.states[hub].number) for hub in self.ways)
            told = b"".join(hub + number.to_bytes(8, "big") for hub, number in states)
            self._digest = int.from_bytes(sha256(told).digest()[:7], "big") or 1
        return self._digest

    def next_to(self, hub: bytes) -> bytes | None:
        """Return the neighbour that leads to a hub; None if none does, or if it is this hub."""
        ways = self.ways
        if hub == self.me or hub not in ways:
            return None
        while ways[hub] != self.me:
            hub = ways[hub]
        return hub

    # ----------------------------------------------------------------------------- nodes

    def home(self, node: bytes) -> bytes | None:
        """Return the hub that carries a node: this one, if it does so itself."""
        if self._homes is None:
            self._homes = {}
            for hub in (*sorted(self.ways, reverse=True), self.me):
                self._homes.update((n, hub) for n, _ in self.states[hub].nodes)
        return self._homes.get(node)

    def nodes(self) -> dict[bytes, bool]:
        """Return the nodes that can be reached, and whether all their hubs find them silent."""
        found: dict[bytes, bool] = {}
        for hub in self.ways:
            for node, quiet in self.states[hub].nodes:
                found[node] = found.get(node, True) and quiet
        return found

    def reasons(self) -> dict[bytes, str]:
        """Return why nodes have left, as far as their hubs say."""
        return {node: why for hub in self.ways for node, why in self.states[hub].left}

    def carries(self, hub: bytes, node: bytes) -> bool:
        """Return whether a hub says that it carries a node itself."""
        carried = self._carried.get(hub)
        if carried is None:
            state = self.states.get(hub)
            carried = self._carried[hub] = frozenset(n for n, _ in (state.nodes if state else ()))
        return node in carried

    # ------------------------------------------------------------------------------ data

    def wanted(self) -> dict[bytes, int]:
        """Return the topics that nodes of other hubs want; a new number asks for one again."""
        topics: dict[bytes, int] = {}
        for hub in self.ways:
            if hub != self.me:
                for topic, number in self.states[hub].wants.items():
                    topics[topic] = topics.get(topic, 0) + number + 1
        return topics

    def branches(self, root: bytes, topic: bytes) -> tuple[bytes, ...]:
        """Return the neighbours that a frame which entered at ``root`` is passed on to.

        These are our children in the tree below which some hub's nodes want the topic.
        """
        key = root, topic
        found = self._branches.get(key)
        if found is None:
            if len(self._branches) >= MAX_SEEN:
                self._branches.clear()
            found = self._branches[key] = self._wanting(self.tree(root), topic)
        return found

    def _wanting(self, tree: dict[bytes, bytes], topic: bytes) -> tuple[bytes, ...]:
        starts = {topic[:end] for end in range(1, len(topic) + 1)}
        found: dict[bytes, None] = {}
        if self.me not in tree:
            return ()
        for hub in tree:
            if not starts.isdisjoint(self.states[hub].wants):
                while tree[hub] != hub and tree[hub] != self.me:
                    hub = tree[hub]
                if tree[hub] == self.me and hub != self.me:
                    found[hub] = None
        return tuple(found)


class DuplicateFilter:
    """The last number that has passed this hub, by origin and exchange."""

    def __init__(self, hubs: Topology) -> None:
        self._map = hubs
        self._last: dict[tuple[bytes, bytes], int] = {}

    def onward(
        self, frame: FrameInfo, root: bytes, hops: int, source: bytes = b""
    ) -> tuple[bytes, ...] | None:
        """Return the neighbours that a frame is passed on to; None if it has passed already.

        Args:
            frame: the head of the frame.
            root: the hub at which it entered.
            hops: how many hubs it may still pass, including this one.
            source: the neighbour that it came from.
        """
        if not self._fresh(frame.origin, frame.topic, frame.first, frame.messages):
            return None
        if hops <= 1:
            return ()
        hubs = self._map.branches(root, frame.topic)
        return tuple(hub for hub in hubs if hub != source) if source in hubs else hubs

    def _fresh(self, origin: bytes, topic: bytes, first: int, count: int) -> bool:
        """Return whether a frame has messages that have not passed; note that they have now.

        A frame without messages always counts as new: only its hop count ends it.
        """
        if not count:
            return True
        key, last = (origin, topic), first + count - 1
        if last <= self._last.get(key, 0):
            return False
        if len(self._last) >= MAX_SEEN and key not in self._last:
            del self._last[next(iter(self._last))]
        self._last[key] = last
        return True

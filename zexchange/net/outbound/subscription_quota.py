"""The memory that subscriptions take at our data socket, and which connections to cut for it.

libzmq keeps a node of a tree for every byte of every subscription: 100,000 of random bytes
cost 840 MB. It tells the publisher of each new topic, and of each topic that no connection has
left, so the sum can be computed here. Under the lock of the data socket.
"""

from collections.abc import Callable
from math import inf

from ...protocol.rate_limit import MAX_KNOWN, TokenBucket
from ..security.connections import Connection, connection, cut

TOPICS_BYTES = 4 << 20
"""The most bytes of different subscriptions, each counted with its overhead. In libzmq they take up
to fifty times as much (4.3.5: 44 to 46 bytes for each byte counted), and twice that while those
of a connection that was cut are not all gone."""
OVERHEAD = 16
AT_ONCE, A_SECOND = 8 << 20, 512 << 10
"""Bytes that one connection may send, in a burst and a second: subscriptions, repetitions and ends
of them, counted in the same way."""
NARROW_BYTES = 1 << 20
"""The most bytes of different subscriptions of all connections of one key that may not subscribe to
everything: 27,000 names of 20 bytes. libzmq looks at all that there are each time that a connection
ends, for a tenth of a microsecond a byte, and nothing can be sent meanwhile."""
NARROW_AT_ONCE, NARROW_A_SECOND = 2 << 20, 128 << 10
"""Bytes that all connections of such a key together may send."""
REFUSED = 4
"""How many times a subscription counts that a key may not have: a node asks for few."""
STRICT_AT_ONCE, STRICT_A_SECOND = 32 << 10, 8 << 10
"""The same in strict mode for connections made since it began: a peer that was cut connects again
at once."""
STRICT_SECONDS = 60.0
"""Seconds of strict mode after the last cut. libzmq removes all subscriptions of a connection in
one call, during which nothing can be sent: half a second if there were many."""
KEY_STRICT_AT_ONCE, KEY_STRICT_A_SECOND = 128 << 10, 8 << 10
"""The same for all connections of one key together while that key is in strict mode. Enough for
3000 names of 20 bytes: the owner of the key may be an honest node that has too many names."""
KEY_STRICT_SECONDS = 600.0
"""Seconds of strict mode for a key after a connection of it was cut. A cut during that time does
not prolong it. With keys, no other peer is restricted because of one."""
ROOM = KEY_STRICT_AT_ONCE // 2
"""Bytes that a key in strict mode has to be allowed before it may connect again: each connection
brings all at once, and libzmq takes that in before any of it is counted."""
OWNERS = 4
"""The most connections remembered for one topic."""


def _connection(fd: int) -> Connection:
    """Return the connection that a descriptor belongs to now."""
    return connection(fd) or (fd, -1)


class SubscriptionQuota:
    """The different topics that are subscribed to, and the connections that brought them.

    Args:
        cut: called with a connection that is to be cut.
        most: as `TOPICS_BYTES`.
        find: returns the connection that a descriptor belongs to.
        each: whether libzmq reports the end of a topic for each connection that had it, and not
            only for the last one.
        narrow: returns whether the owner of a key may not subscribe to everything.
    """

    def __init__(
        self,
        cut: Callable[[Connection], None] = cut,
        most: int = TOPICS_BYTES,
        find: Callable[[int], Connection] = _connection,
        each: bool = False,
        narrow: Callable[[bytes], bool] = lambda key: False,
    ) -> None:
        self._cut = cut
        self._most = most
        self._find = find
        self._each = each
        self._is_narrow = narrow
        self._narrow = TokenBucket(NARROW_AT_ONCE, NARROW_A_SECOND)
        self._topics: dict[int, tuple[int, tuple[Connection, ...]]] = {}
        self._shared = set[int]()
        """The topics that more than one connection has."""
        self._held: dict[Connection, int] = {}
        self._keys: dict[Connection, bytes] = {}
        """The keys of those in `_held`."""
        self._of_keys: dict[bytes, int] = {}
        """By key, the bytes of all its connections, without those that are being cut."""
        self._ending: set[Connection] = set()
        self._gone: dict[Connection, None] = {}
        """Connections that were cut and held nothing; each of their frames would cut them again."""
        self._usual = TokenBucket(AT_ONCE, A_SECOND)
        self._strict = TokenBucket(STRICT_AT_ONCE, STRICT_A_SECOND)
        self._strict_until = -inf
        self._strict_keys = dict[bytes, float]()
        """By key, when its strict mode ends."""
        self._of_key = TokenBucket(KEY_STRICT_AT_ONCE, KEY_STRICT_A_SECOND)
        self._known = dict[Connection, tuple[bytes, bool]]()
        """The key of each connection, and whether it was made in strict mode."""
        self.bytes = 0
        """The bytes of all topics, without those of connections that are being cut."""
        self._cuts = 0

    def told(self) -> int:
        """Return how many connections were cut since the last call."""
        cuts, self._cuts = self._cuts, 0
        return cuts

    def note(self, frame: bytes, fd: int, now: float, key: bytes = b"") -> bool:
        """Take note of a frame by which a connection subscribes to a topic or unsubscribes.

        Args:
            frame: the whole frame.
            fd: the descriptor of the connection, -1 if it no longer has one.
            now: seconds on a monotonic clock.
            key: the key with which the connection has authenticated itself, if any.

        Returns:
            Whether to process the frame; False if its connection is being cut.
        """
        topic, size = hash(frame[1:]), len(frame) + OVERHEAD
        by = self._find(fd) if fd >= 0 else None
        if frame[:1] == b"\1":
            self._subscribed(topic, size, by or (fd, -1), now, key)
        elif frame[:1] == b"\0" and topic in self._topics:
            self._ended(topic, by, now)
        if by is not None and not self._is_cut(by) and not self._allowed(by, key, size, now):
            self._end(by, now)
        return by is None or not self._is_cut(by)

    def _is_cut(self, by: Connection) -> bool:
        return by in self._ending or by in self._gone

    def bar(self, fd: int, now: float, key: bytes = b"") -> None:
        """Cut a connection that subscribes to what no node ever asks for.

        Without keys no others pay for that: somebody may just have mistaken the address.
        """
        by = self._find(fd) if fd >= 0 else None
        if by is not None and not self._is_cut(by):
            if key:
                self._end(by, now)
            else:
                self._drop(by, now)

    def refused(self, frame: bytes, fd: int, now: float, key: bytes) -> None:
        """Take note that a subscription was refused, which counts for more than it is."""
        by, size = self._find(fd), (REFUSED - 1) * (len(frame) + OVERHEAD)
        ended = self._is_cut(by) or self._strict_with(key, now)
        if not ended and not self._allowed(by, key, size, now):
            self._end(by, now)

    def has_room(self, key: bytes, now: float) -> bool:
        """Return whether a key may make connections that bring subscriptions. Any thread."""
        return not self._strict_with(key, now) or self._of_key.left(key, now) >= ROOM

    def _own(self, topic: int, size: int, *owners: Connection) -> None:
        """Note to which connections a topic belongs; it is charged to the first."""
        self._topics[topic] = size, owners
        if len(owners) > 1:
            self._shared.add(topic)
        else:
            self._shared.discard(topic)

    def _ended(self, topic: int, by: Connection | None, now: float) -> None:
        """Take note that no connection has a topic left, or (with `each`) one fewer."""
        size, owners = self._topics.pop(topic)
        self._shared.discard(topic)
        self._charge(owners[0], -size, now)
        if self._each and len(owners) > 1:
            gone = by if by in owners else owners[0]
            rest = tuple(owner for owner in owners if owner != gone)
            self._own(topic, size, *rest)
            self._charge(rest[0], size, now)

    def _allowed(self, by: Connection, key: bytes, size: int, now: float) -> bool:
        """Return whether a connection may send so many bytes."""
        strict = now < self._strict_until
        newcomer = self._known.setdefault(by, (key, strict))[1]
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
        if key and self._strict_with(key, now):
            return self._of_key.take(key, size, now)
        if key and self._is_narrow(key):
            return self._narrow.take(key, size, now)
        allowance = self._strict if strict and newcomer and not key else self._usual
        return allowance.take(by, size, now)

    def _strict_with(self, key: bytes, now: float) -> bool:
        """Return whether a key is in strict mode."""
        return now < self._strict_keys.get(key, -inf)

    def _subscribed(self, topic: int, size: int, by: Connection, now: float, key: bytes) -> None:
        """Charge the topic to the first live connection that subscribed to it.

        A peer that was cut connects and subscribes again before libzmq has removed what its former
        connection had.
        """
        owners = self._topics.get(topic, (size, ()))[1]
        if by in owners:
            return
        if not owners or owners[0] in self._ending:
            if owners:
                self._charge(owners[0], -size, now)
            self._own(topic, size, by)
            if key:
                self._keys.setdefault(by, key)
            self._charge(by, size, now)
        elif len(owners) < OWNERS:
            self._own(topic, size, *owners, by)

    def _charge(self, to: Connection, size: int, now: float) -> None:
        held, key = self._held.get(to, 0) + size, self._keys.get(to, b"")
        if held:
            self._held[to] = held
            if to in self._gone:
                del self._gone[to]
                self._ending.add(to)
        else:
            del self._held[to]
            self._keys.pop(to, None)
        if to not in self._ending:
            self.bytes += size
            self._hold(key, size)
            if self.bytes > self._most:
                self._end(self._heaviest(), now)
            elif self._of_keys.get(key, 0) > NARROW_BYTES and self._is_narrow(key):
                self._end(self._heaviest(key), now)
        elif not held:
            self._ending.discard(to)

    def _hold(self, key: bytes, size: int) -> None:
        """Note that the connections of a key hold so much more."""
        if key:
            held = self._of_keys.pop(key, 0) + size
            if held:
                self._of_keys[key] = held

    def _heaviest(self, key: bytes | None = None) -> Connection:
        """Return the connection that holds most: of all, or of those of a key."""
        held = self._held.keys() - self._ending
        mine = held if key is None else [one for one in held if self._keys.get(one) == key]
        return max(mine, key=self._held.__getitem__)

    def _end(self, by: Connection, now: float) -> None:
        """Cut a connection, and begin strict mode: for its key, or for all without keys."""
        key = self._keys.get(by) or self._known.get(by, (b"", False))[0]
        if not key:
            self._strict_until = now + STRICT_SECONDS
        elif not self._strict_with(key, now):
            self._strict_keys.pop(key, None)
            self._strict_keys[key] = now + KEY_STRICT_SECONDS
            if len(self._strict_keys) > MAX_KNOWN:
                del self._strict_keys[next(iter(self._strict_keys))]
        self._drop(by, now)

    def _drop(self, by: Connection, now: float) -> None:
        """Cut a connection, and count its topics no longer."""
        if by in self._held:
            self._ending.add(by)
            self.bytes -= self._held[by]
            self._hold(self._keys.get(by, b""), -self._held[by])
        else:
            self._gone[by] = None
            if len(self._gone) > MAX_KNOWN:
                del self._gone[next(iter(self._gone))]
        self._cuts += 1
        self._cut(by)
        # Topics that other connections have, too, stay, and are charged to these.
        for topic in list(self._shared):
            size, owners = self._topics[topic]
            if owners[0] == by:
                self._own(topic, size, *owners[1:])
                self._charge(by, -size, now)
                self._charge(owners[1], size, now)

"""What is subscribed to is charged to who brought it, and who has most is cut."""

import pytest

from zexchange.net.outbound.subscription_quota import (
    AT_ONCE,
    KEY_STRICT_A_SECOND,
    KEY_STRICT_AT_ONCE,
    KEY_STRICT_SECONDS,
    NARROW_AT_ONCE,
    NARROW_BYTES,
    OVERHEAD,
    ROOM,
    STRICT_AT_ONCE,
    STRICT_SECONDS,
    SubscriptionQuota,
)

SIZE = 10 + OVERHEAD
"""What a topic of nine bytes is counted for, with the byte that says what is done."""


class Sockets:
    """Connections by descriptor: the inode is new when a descriptor is used again."""

    now = 0.0

    def __init__(self, most: int, each: bool = False) -> None:
        self.inodes: dict[int, int] = {}
        self.cuts: list[tuple[int, int]] = []
        self.topics = SubscriptionQuota(
            self.cuts.append,
            most * SIZE,
            lambda fd: (fd, self.inodes.get(fd, 0)),
            each,
            lambda key: key.startswith(b"narrow"),
        )

    def add(self, fd: int, *topics: int, key: bytes = b"") -> None:
        for topic in topics:
            self.topics.note(b"\1%09d" % topic, fd, self.now, key)

    def drop(self, *topics: int, fd: int = -1) -> None:
        for topic in topics:
            self.topics.note(b"\0%09d" % topic, fd, self.now)


def test_who_has_most_is_cut() -> None:
    """Over the limit the heaviest connection goes, and only that."""
    sockets = Sockets(10)
    sockets.add(1, *range(4))
    sockets.add(2, *range(100, 107))
    assert sockets.cuts == [(2, 0)]
    assert sockets.topics.bytes == 4 * SIZE
    assert (sockets.topics.told(), sockets.topics.told()) == (1, 0)


def test_what_is_gone_is_not_counted() -> None:
    """Topics that come and go add up to what is there; what was never there is not."""
    sockets = Sockets(10)
    for n in range(100):
        sockets.add(1, n, n)
        sockets.drop(n, 10**6 + n)
    assert (sockets.cuts, sockets.topics.bytes) == ([], 0)


def test_a_message_is_no_subscription() -> None:
    """Whatever else is sent to a publisher neither adds nor takes away."""
    sockets = Sockets(10)
    sockets.add(1, 1, 2, 3)
    for frame in (b"", b"\x05000000001", b"\xff"):
        sockets.topics.note(frame, 1, 0.0)
    assert sockets.topics.bytes == 3 * SIZE


def test_who_comes_back_is_charged_again() -> None:
    """A connection that was cut returns with the same topics, before they are gone."""
    sockets = Sockets(10)
    sockets.add(1, *range(11))
    sockets.inodes[1] = 7
    sockets.add(1, *range(11))
    assert sockets.cuts == [(1, 0), (1, 7)]
    sockets.drop(*range(11))
    sockets.add(1, 1)
    assert sockets.topics.bytes == SIZE


def test_what_others_have_as_well_stays_theirs() -> None:
    """When the one goes to whom a topic was charged, it is charged to the next."""
    sockets = Sockets(10)
    sockets.add(1, *range(6))
    sockets.add(2, *range(3))
    sockets.add(1, *range(50, 55))
    assert sockets.cuts == [(1, 0)]
    assert sockets.topics.bytes == 3 * SIZE


@pytest.mark.parametrize("repeated", [True, False])
def test_who_goes_on_without_end_is_cut(repeated: bool) -> None:
    """The same topic over and over, or its coming and going, is bounded as well."""
    sockets, times = Sockets(10), 0
    while not sockets.cuts:
        sockets.add(1, 7)
        times += 1
        if not repeated:
            sockets.drop(7, fd=1)
    assert times * SIZE >= AT_ONCE // 2
    assert not sockets.topics.note(b"\1%09d" % 8, 1, 0.0)
    assert sockets.topics.note(b"\1%09d" % 8, 2, 0.0)


def test_who_comes_after_a_cut_may_bring_little_for_a_while() -> None:
    """Who was cut would come back with as much; who was there before is left in peace."""
    sockets = Sockets(10**6)
    sockets.add(1, 1)
    times = 0
    while not sockets.cuts:
        sockets.add(2, 7)
        times += 1
    little = STRICT_AT_ONCE // SIZE
    sockets.add(3, *range(little // 2))
    assert len(sockets.cuts) == 1
    sockets.add(3, *range(little // 2, little + 2))
    sockets.add(1, *range(2, 2 + 2 * little))
    assert sockets.cuts == [(2, 0), (3, 0)]
    sockets.now += STRICT_SECONDS + 1
    sockets.add(4, *range(2 * little))
    assert len(sockets.cuts) == 2


def test_a_key_that_was_cut_pays_for_itself_alone() -> None:
    """All its connections together may bring little for ten minutes, and others as before."""
    sockets = Sockets(10**6)
    sockets.add(1, 1, key=b"good")
    while not sockets.cuts:
        sockets.add(2, 7, key=b"bad")
    little = KEY_STRICT_AT_ONCE // SIZE
    sockets.add(3, *range(little // 2), key=b"bad")
    sockets.add(4, *range(2 * little), key=b"good")
    sockets.add(5, *range(2 * little), key=b"")
    assert len(sockets.cuts) == 1
    sockets.now = KEY_STRICT_SECONDS / 2
    sockets.add(6, *range(little // 2, 2 * little), key=b"bad")
    assert {fd for fd, _ in sockets.cuts} == {2, 6}
    # What is cut meanwhile makes it no longer: its owner may just have that many names.
    cuts, sockets.now = len(sockets.cuts), KEY_STRICT_SECONDS + 1
    sockets.add(7, *range(2 * little), key=b"bad")
    assert len(sockets.cuts) == cuts


def test_where_each_end_is_told_another_ones_topics_stay_counted() -> None:
    """Of two that have the same, one goes: what the other has is still there, and its own."""
    sockets = Sockets(100, each=True)
    sockets.add(1, 1, 2, 3)
    sockets.add(2, 1, 2, 3)
    sockets.drop(1, fd=2)
    sockets.drop(2, 3)
    assert sockets.topics.bytes == 3 * SIZE
    sockets.drop(1, fd=1)
    sockets.drop(2, 3)
    assert sockets.topics.bytes == 0


def test_a_key_that_may_not_have_everything_holds_little() -> None:
    """All connections of it together: what is held has to be looked through at each end."""
    sockets, most = Sockets(10**6), NARROW_BYTES // SIZE
    sockets.add(1, *range(most), key=b"narrow")
    sockets.add(2, *range(10**6, 10**6 + 2 * most), key=b"wide")
    assert not sockets.cuts
    sockets.now += 100.0
    sockets.add(3, *range(10**7, 10**7 + 2), key=b"narrow")
    assert sockets.cuts == [(1, 0)]
    sockets.drop(*range(most), fd=1)
    assert sockets.topics.bytes == (2 * most + 2) * SIZE
    assert sockets.topics._of_keys == {b"narrow": 2 * SIZE, b"wide": 2 * most * SIZE}


def test_what_is_refused_counts_for_more() -> None:
    """A key may ask for few things that it may not have."""
    sockets, frame = Sockets(10**6), b"\1%09d" % 1
    for granted in (True, False):
        sockets.cuts.clear()
        fd, key, times = 1 + granted, b"narrow%d" % granted, 0
        while not sockets.cuts:
            sockets.topics.note(frame, fd, sockets.now, key)
            if not granted:
                sockets.topics.refused(frame, fd, sockets.now, key)
            times += 1
        assert sockets.cuts == [(fd, 0)]
        assert (times * SIZE > NARROW_AT_ONCE // 2) is granted


@pytest.mark.parametrize("key", [b"", b"key"])
def test_who_asks_for_no_topic_of_ours_is_cut_at_once(key: bytes) -> None:
    """A key is in strict mode from then on; without keys others may bring as much as before."""
    sockets = Sockets(10**6)
    sockets.add(1, 1, 2, key=key)
    sockets.topics.bar(1, sockets.now, key)
    assert (sockets.cuts, sockets.topics.bytes) == ([(1, 0)], 0)
    assert not sockets.topics.note(b"\1%09d" % 3, 1, sockets.now, key)
    sockets.add(2, *range(10, 10 + 2 * KEY_STRICT_AT_ONCE // SIZE), key=key)
    assert sockets.cuts == [(1, 0), (2, 0)] if key else [(1, 0)]


def test_a_key_that_was_cut_comes_back_when_it_may_bring_something() -> None:
    """Each connection brings all that it has at once: it is turned away until there is room."""
    sockets = Sockets(10**6)
    sockets.add(1, 1, key=b"bad")
    assert sockets.topics.has_room(b"bad", sockets.now)
    sockets.topics.bar(1, sockets.now, b"bad")
    assert sockets.topics.has_room(b"bad", sockets.now)
    sockets.add(2, *range(2 * KEY_STRICT_AT_ONCE // SIZE), key=b"bad")
    assert not sockets.topics.has_room(b"bad", sockets.now)
    assert sockets.topics.has_room(b"good", sockets.now)
    sockets.now += ROOM / KEY_STRICT_A_SECOND + 1.0
    assert sockets.topics.has_room(b"bad", sockets.now)

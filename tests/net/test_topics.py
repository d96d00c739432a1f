"""What is subscribed to is charged to who brought it, and who has most is cut."""

from zexchange.net.topics import OVERHEAD, Topics

SIZE = 10 + OVERHEAD
"""What a topic of nine bytes is counted for, with the byte that says what is done."""


class Sockets:
    """Connections by descriptor: the inode is new when a descriptor is used again."""

    def __init__(self, most: int) -> None:
        self.inodes: dict[int, int] = {}
        self.cuts: list[tuple[int, int]] = []
        self.topics = Topics(self.cuts.append, most * SIZE, lambda fd: (fd, self.inodes.get(fd, 0)))

    def add(self, fd: int, *topics: int) -> None:
        for topic in topics:
            self.topics.note(b"\1%09d" % topic, fd)

    def drop(self, *topics: int) -> None:
        for topic in topics:
            self.topics.note(b"\0%09d" % topic, -1)


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
        sockets.topics.note(frame, 1)
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

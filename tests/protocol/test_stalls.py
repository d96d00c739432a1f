"""Who holds senders up for too long: seconds in which we did not look are not held against them."""

from itertools import islice

from zexchange.protocol.delivery.stalls import Stalling, Turns

A, B = b"a" * 16, b"b" * 16


def looks(stalling: Stalling, now: float, until: float, **progress: int) -> dict[bytes, float]:
    """Look four times a second, before ``until``; return when which peer was slow first."""
    slow: dict[bytes, float] = {}
    names = {"a": A, "b": B}
    while now < until:
        for node in stalling.look({names[n]: done for n, done in progress.items()}, now):
            slow.setdefault(node, now)
        now += 0.25
    return slow


def test_who_acknowledges_nothing_is_slow_after_the_stall() -> None:
    """And not sooner; another one that moves on is not."""
    stalling = Stalling(1.0)
    assert looks(stalling, 0.0, 0.75, a=5, b=5) == {}
    assert looks(stalling, 0.75, 1.75, a=5, b=6) == {A: 1.0}


def test_only_the_time_in_which_it_is_waited_for_counts() -> None:
    """Whoever holds nobody up for a moment begins anew."""
    stalling = Stalling(1.0)
    looks(stalling, 0.0, 0.75, a=5)
    looks(stalling, 0.75, 1.0)
    assert looks(stalling, 1.0, 2.0, a=5) == {}
    assert looks(stalling, 2.0, 3.0, a=5) == {A: 2.0}


def test_our_own_stop_makes_nobody_slow() -> None:
    """A stop of this process, or its control thread, is no time in which a peer did nothing."""
    stalling = Stalling(1.0)
    looks(stalling, 0.0, 1.0, a=5)
    assert looks(stalling, 60.0, 60.25, a=5) == {}
    assert looks(stalling, 60.25, 61.25, a=6) == {}
    assert looks(stalling, 61.25, 62.0, a=6) == {A: 61.25}


def test_on_a_machine_that_is_always_late_it_takes_longer() -> None:
    """And not for ever."""
    stalling = Stalling(1.0)
    slow = [stalling.look({A: 1}, float(now)) for now in range(8)]
    assert slow == [[]] * 5 + [[A]] * 3


def test_each_name_has_its_turn() -> None:
    """Whatever comes and goes meanwhile, nobody waits for longer than one round of all."""
    turns, names = Turns(), {f"{n:02}" for n in range(10)}
    assert list(turns.take(names, 10)) == sorted(names)
    assert list(turns.take(names, 4)) == ["00", "01", "02", "03"]
    names -= {"03", "05"}
    assert list(turns.take(names, 4)) == ["04", "06", "07", "08"]
    names.add("03x")
    assert list(turns.take(names, 4)) == ["09", "00", "01", "02"]
    assert list(turns.take(set(), 4)) == []
    assert list(turns.take({"x"}, 4)) == ["x"]


def test_a_turn_that_was_not_taken_comes_next() -> None:
    """Who has no time for all of them goes on where it stopped."""
    turns, names = Turns(), ["00", "01", "02", "03"]
    assert list(islice(turns.take(names, 3), 2)) == ["00", "01"]
    assert list(turns.take(names, 3)) == ["02", "03", "00"]

"""What is remembered of nodes that have left: for ten minutes, and of so many."""

from zexchange.protocol.delivery.departed import REMEMBERED, Departed


def test_who_is_back_in_time_finds_what_it_left() -> None:
    """Once: then nothing is remembered any more."""
    departed = Departed[str, int]()
    departed.leave("a", 1, 100.0)
    assert list(departed.expire(100.0 + REMEMBERED - 1)) == []
    assert departed.back("a") == 1
    assert departed.back("a") is None
    assert list(departed.expire(1e9)) == []


def test_who_is_away_for_too_long_is_forgotten() -> None:
    """Counted from when it left last."""
    departed = Departed[str, int]()
    departed.leave("a", 1, 100.0)
    departed.leave("b", 2, 101.0)
    departed.leave("a", 3, 102.0)
    assert departed.next_at == 101.0 + REMEMBERED
    assert list(departed.expire(101.0 + REMEMBERED)) == [("b", 2)]
    assert list(departed.expire(102.0 + REMEMBERED)) == [("a", 3)]
    assert not departed.there


def test_some_are_remembered_for_longer() -> None:
    """By a sender, which must not forget first."""
    departed = Departed[str, int](longer=60.0)
    departed.leave("a", 1, 100.0)
    assert list(departed.expire(100.0 + REMEMBERED)) == []
    assert list(departed.expire(160.0 + REMEMBERED)) == [("a", 1)]


def test_of_too_many_the_oldest_go_first() -> None:
    """Before their time, so that no table grows."""
    departed = Departed[int, str](most=2)
    for node in range(5):
        departed.leave(node, "there", float(node))
    assert [node for node, _ in departed.expire(5.0)] == [0, 1, 2]
    assert list(departed.there) == [3, 4]

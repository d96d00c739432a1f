"""What is remembered of peers that do not go on where they were: how many, and of what."""

import pytest

from zexchange.protocol.delivery import former as f
from zexchange.protocol.delivery.former import Former
from zexchange.protocol.delivery.sequence import Gap, ReceiveState
from zexchange.protocol.interest.interest import NameSet


def wanting(*keys: str) -> ReceiveState:
    """Return where we stand with a peer, of which we want something."""
    positions = ReceiveState()
    positions.expect(1, keys, [])
    positions.ready(1, {})
    return positions


def told(positions: ReceiveState | None, *keys: str) -> list[Gap]:
    """Return what is told of a peer that is back and has sent a message on ``a`` and on ``b``."""
    back = ReceiveState()
    if positions is not None:
        back.count_on(positions)
    back.expect(2, keys, [])
    return back.ready(2, {"a": 1, "b": 1})


def test_as_many_are_remembered_as_may_be_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more, the one that left first is forgotten: this is said, if it had anything to tell."""
    monkeypatch.setattr(f, "DEPARTED_MOST", 3)
    former = Former()
    assert [former.remember(f"{n}", wanting(*"a" * (n > 0))) for n in range(5)] == [0, 0, 0, 0, 1]
    assert list(former.there) == ["2", "3", "4"]
    assert former.back("0") is former.back("1") is None
    assert told(former.back("2"), "a") == [Gap("a", 0, 1)]
    assert list(former.there) == ["3", "4"]


def test_who_has_said_goodbye_takes_nobodys_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is remembered for its sums; the others may come back."""
    monkeypatch.setattr(f, "DEPARTED_MOST", 3)
    monkeypatch.setattr(f, "ENDED_MOST", 2)
    former = Former()
    assert former.remember("away", wanting("a")) == 0
    for n in range(9):
        assert former.remember(f"{n}", wanting("a"), ended=True) == 0
    assert set(former.there) == {"away", "7", "8"}


def test_names_of_all_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f, "UNSURE_MOST", 5)
    former = Former()
    keys = [["a"], ["a", "b"], ["a", "b", "c"]]
    assert [former.remember(f"{n}", wanting(*some)) for n, some in enumerate(keys)] == [0, 0, 1]
    assert list(former.there) == ["1", "2"]


def test_what_is_wanted_no_longer_is_not_told() -> None:
    """Unless another key covers it all the time."""
    former = Former()
    for n in "123":
        former.remember(n, wanting("a", "b"))
    former.drop(["c"], NameSet(["a", "b"]))
    assert told(former.back("1"), "a", "b") == [Gap("a", 0, 1), Gap("b", 0, 1)]
    former.drop(["a"], NameSet(["b"]))
    assert told(former.back("2"), "a", "b") == [Gap("b", 0, 1)]
    former.drop(["b"], NameSet(["*"]))
    former.drop(["*"], NameSet())
    assert told(former.back("3"), "a", "b") == []

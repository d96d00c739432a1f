"""Since when a name is wanted, also under keys that have ended."""

import pytest

from zexchange.protocol.interest import coverage as formerkeys
from zexchange.protocol.interest.coverage import FormerKeys, began


def test_one_key_after_another() -> None:
    """A name is wanted on where a key covers it that began before the one before it ended."""
    former = FormerKeys()
    former.end(3, {"a.x": 1, "b": 1})
    former.end(6, {"a.*": 3})
    former.end(8, {"b": 4})
    assert former.until("a.x", 1) == 6
    assert former.until("a.y", 1) == 1
    assert former.until("a.y", 3) == 6
    assert former.until("b", 2) == 3, "and again from 4 on, which is not the same"
    assert former.until("b", 4) == 8
    assert began("a.x", {"a.x": 7, "*.x": 5}, ["*.x"], former.until("a.x", 1))
    assert not began("b", {"b": 9}, [], former.until("b", 4))


def test_former_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many, more is taken to be wanted all the time than was; until that is confirmed."""
    monkeypatch.setattr(formerkeys, "MAX_FORMER", 2)
    former = FormerKeys()
    former.end(3, {"a": 1, "b": 2})
    assert [former.until(name, 1) for name in "abc"] == [3, 1, 1]
    former.end(5, {"a.*": 3})
    assert [former.until(name, 1) for name in "abc"] == [5, 5, 5]
    former.end(7, {"a": 4})
    assert [former.until(name, 1) for name in "abc"] == [7, 5, 5]
    former.confirmed(5)
    assert [former.until(name, 5) for name in "abc"] == [7, 5, 5]
    former.confirmed(7)
    assert [former.until(name, 1) for name in "abc"] == [1, 1, 1]

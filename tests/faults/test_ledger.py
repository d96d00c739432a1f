"""The books themselves: they find each kind of error, and agree with a plain count."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from .ledger import Account, Ledger, load


def book(*entries: int | tuple[int, int]) -> Account:
    """Return an account of messages by number and of losses by range."""
    account = Account()
    for entry in entries:
        if isinstance(entry, tuple):
            account.miss(*entry)
        else:
            account.come("a", entry, entry)
    return account


def faults(*entries: int | tuple[int, int], sent: int, may_lose: bool = True) -> list[str]:
    return list(book(*entries).faults(sent, 1, may_lose))


def test_a_clean_account_has_no_faults() -> None:
    """Messages in order, and a hole that is reported in its place, add up."""
    assert faults(1, 2, 3, sent=3, may_lose=False) == []
    assert faults(1, (2, 4), 5, (6, 6), sent=6) == []
    assert faults((1, 2), 3, sent=3) == []


def test_each_error_is_found() -> None:
    """A silent hole, a repetition, a wrong order, a missing tail, a wrong report."""
    assert faults(1, 3, sent=3)[-1] == "silent: [(2, 2)]"
    assert faults(1, 2, 2, 3, sent=3) == ["duplicates: 1"]
    assert faults(1, 3, 2, sent=3) == ["disorder: 1"]
    assert faults(1, 2, sent=3)[0] == "ends with 2 of 3"
    assert faults(2, 3, sent=3) == ["begins with 2, promised from 1"]
    assert faults(sent=3)[0] == "ends with 0 of 3"
    assert faults(1, (1, 1), 2, sent=2) == ["duplicates: 1"]
    assert faults(1, (2, 3), 2, 4, sent=4) == ["duplicates: 1"]
    assert faults(1, (2, 2), 3, sent=3, may_lose=False) == ["lost [(2, 2)] where nothing may be"]
    assert faults(1, 3, (2, 2), sent=3) == ["disorder: 1"]
    assert faults(1, (3, 3), sent=3)[-1] == "silent: [(2, 2)]"


def test_a_message_that_is_not_what_it_should_be_is_found() -> None:
    """The number inside and the sender's label have to be those of the delivery."""
    account = Account()
    account.come("a", 1, 1)
    account.come("a", 2, 3)
    account.come("b", 3, 3)
    assert list(account.faults(3, 1, False)) == ["garbled: 2"]


def test_who_comes_later_begins_no_later_than_promised() -> None:
    """A late receiver may have more than it was promised, and never less."""
    assert list(book(5, 6).faults(6, 5, False)) == []
    assert list(book(5, 6).faults(6, 6, False)) == []
    assert list(book(6).faults(6, 5, False)) == ["begins with 6, promised from 5"]


entry = st.integers(1, 12) | st.tuples(st.integers(1, 12), st.integers(0, 3)).map(
    lambda pair: (pair[0], pair[0] + pair[1])
)


@given(st.lists(entry, max_size=25))
def test_the_sums_are_those_of_a_plain_count(entries: list[Any]) -> None:
    """Whatever comes, each number counts once: as received, as lost, or as silently lost."""
    account = book(1, *entries)
    got, repeated = {1}, 0
    lost: set[int] = set()
    for one in entries:
        if isinstance(one, tuple):
            new = set(range(one[0], one[1] + 1))
            repeated += len(new & (got | lost))
            lost |= new - got
        else:
            repeated += one in got | lost
            got |= {one} - lost
    everything = set(range(1, account.position + 1))
    assert account.received == len(got)
    assert account.lost == len(lost)
    assert account.duplicates == repeated
    assert account.silently_lost == len(everything - got - lost)


def test_books_travel_as_plain_values() -> None:
    """What is dumped is what is loaded."""
    ledger = Ledger()
    for number in (1, 2, 5):
        ledger.account("o").come("a", number, number)
    ledger.account("o").miss(6, 7)
    assert load(ledger.dump()) == ledger.accounts
    assert ledger.reached({"o": 7})
    assert not ledger.reached({"o": 8})
    assert not ledger.reached({"p": 1})

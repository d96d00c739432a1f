"""Interest on both sides of a link, against sets that replay what happened."""

from collections.abc import Sequence
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import KEYS, NAMES

from zexchange.names import matches
from zexchange.protocol.delivery.sequence import Numbering, ReceiveState, SentCounter
from zexchange.protocol.interest import interest
from zexchange.protocol.interest.interest import MAX_PROMISES, NameSet, OwnInterest, PeerInterest
from zexchange.protocol.wire.messages import Promise

keys = st.sampled_from(KEYS)
key_sets = st.sets(keys)
steps = st.lists(st.tuples(keys, st.booleans()), max_size=12)


# ----------------------------------------------------------------------------- Keys


@given(key_sets, st.sampled_from(NAMES))
def test_keys_cover_what_one_of_them_matches(chosen: set[str], name: str) -> None:
    """A set of keys covers a name if it holds the name or a pattern that matches it."""
    assert NameSet(chosen).covers(name) == any(matches(key, name) for key in chosen)


@given(key_sets, key_sets, key_sets)
def test_keys_are_a_set(start: set[str], more: set[str], less: set[str]) -> None:
    """Keys hold what was put in and not taken out."""
    held = NameSet(start)
    held.update(more)
    held.remove(less)
    expected = (start | more) - less
    assert set(held) == expected
    assert len(held) == len(expected)
    assert all((key in held) == (key in expected) for key in KEYS)


# ---------------------------------------------------------------------- OwnInterest


@given(key_sets, steps)
def test_a_change_is_the_replay_of_its_steps(
    start: set[str], taken: list[tuple[str, bool]]
) -> None:
    """Added and removed lead from the state before to the state after the last step."""
    interest = OwnInterest(start)
    now = set(start)
    for key, wanted in taken:
        (now.add if wanted else now.discard)(key)
    change = interest.change(taken)
    added, removed = map(set, change or ((), ()))
    assert set(interest.keys) == now
    assert removed == start - now
    assert added == now - start


@given(key_sets, steps)
def test_the_epoch_counts_changes(start: set[str], taken: list[tuple[str, bool]]) -> None:
    """The epoch grows by one if something changed, and stays if nothing did."""
    interest = OwnInterest(start)
    change = interest.change(taken)
    assert interest.epoch == (1 if change is None else 2)
    assert change is None or change[0] or change[1]


def test_wanted_again_within_one_change() -> None:
    """A key that was dropped and wanted again was wanted all the time."""
    assert OwnInterest(["a"]).change([("a", False), ("a", True)]) is None


def test_wanted_and_dropped_within_one_change() -> None:
    """A key that was wanted for a moment only is not told at all."""
    assert OwnInterest(["a"]).change([("b", True), ("b", False)]) is None


# --------------------------------------------------------------------- PeerInterest


@given(key_sets, st.lists(steps, max_size=6))
def test_a_peer_that_hears_every_change_agrees(
    start: set[str], changes: list[list[tuple[str, bool]]]
) -> None:
    """Told of each change, a peer has the same keys and epoch, and names what came or went."""
    own = OwnInterest(start)
    peer = PeerInterest(own.epoch, start)
    for taken in changes:
        before = set(own.keys)
        change = own.change(taken)
        if change is not None:
            assert peer.change(own.epoch, *change) == before ^ set(own.keys)
        assert set(peer.keys) == set(own.keys)
        assert peer.epoch == own.epoch


@given(key_sets, st.lists(st.tuples(steps, st.booleans(), st.booleans()), max_size=8), st.data())
def test_in_force_is_what_was_announced_since_it_was_wanted(
    start: set[str], changes: list[tuple[list[tuple[str, bool]], bool, bool]], data: st.DataObject
) -> None:
    """A name is promised once an epoch was announced from which on a key covered it."""
    own = OwnInterest(start)
    peer = PeerInterest(own.epoch, start)
    since = dict.fromkeys(start, 1)
    for taken, announced, confirmed in changes:
        change = own.change(taken)
        if change is not None:
            peer.change(own.epoch, *change)
            since = {key: at for key, at in since.items() if key not in change[1]}
            since |= dict.fromkeys(change[0], own.epoch)
        if announced:
            peer.announce(data.draw(st.integers(peer.announced, own.epoch)), {})
        if confirmed:
            peer.confirm(data.draw(st.integers(peer.confirmed, peer.announced)))
        done, told = peer.announced, peer.confirmed
        for name in NAMES:
            covers = [at for key, at in since.items() if matches(key, name)]
            assert peer.in_force(name) == any(at <= done for at in covers)
        for epoch in range(1, own.epoch + 1):
            expected = {key for key, at in since.items() if told < at <= epoch}
            again = done in (0, epoch)
            assert set(peer.unproven(epoch)) >= (set(own.keys) if again else expected)


@given(key_sets, key_sets, st.integers(1, 4))
def test_replacing_names_what_came_or_went(old: set[str], new: set[str], later: int) -> None:
    """The whole interest told anew leaves exactly its keys, all of them to be announced."""
    peer = PeerInterest(3, old)
    peer.announced = peer.confirmed = 3
    assert peer.replace(3 + later, new) == old ^ new
    assert set(peer.keys) == new
    assert set(peer.unproven(3 + later)) == new


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_in_force_after_changes_were_missed(name: str) -> None:
    """A key may have been dropped and wanted again in what was missed: announce it anew."""
    peer = PeerInterest(1, KEYS)
    peer.announced = peer.confirmed = 1
    peer.replace(3, KEYS)
    assert not peer.in_force(name)
    peer.announced = 3
    assert peer.in_force(name)


def test_told_twice_is_told_once() -> None:
    """The whole interest of the epoch that is known already changes nothing."""
    peer = PeerInterest(2, ["a"])
    peer.announced = peer.confirmed = 2
    assert peer.replace(2, ["a"]) == set()
    assert peer.in_force("a")
    assert peer.whole == 2
    peer.change(3, ["b"], [])
    assert peer.unproven(3) == ("b",)


def test_what_was_dropped_since_is_announced_too() -> None:
    """A receiver that is still at the epoch of its token waits for heads of what it dropped."""
    peer = PeerInterest(1, ["a", "b"])
    peer.announce(1, {})
    peer.confirm(1)
    peer.change(2, ["c"], [])
    peer.change(3, [], ["c"])
    assert set(peer.unproven(2)) == {"c"}
    assert set(peer.unproven(3)) == set()
    peer.announce(3, {})
    peer.change(4, ["d"], [])
    assert set(peer.unproven(4)) == {"d"}


# ------------------------------------------------------------------------- promises


@given(st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=40))
def test_the_first_announcement_of_an_epoch_is_remembered(
    told: list[tuple[int, bool]],
) -> None:
    """Promises stay, each as it was first made, until confirmed; and never too many of them."""
    peer = PeerInterest(60, ["a"])
    first: dict[int, int] = {}
    for head, (epoch, confirmed) in enumerate(told):
        if confirmed:
            peer.confirm(epoch)
            first = {at: was for at, was in first.items() if at > epoch}
        else:
            peer.announce(epoch, {"a": head})
            if epoch > max(first, default=peer.confirmed):
                first[epoch] = head
        kept = [(promise.epoch, promise.heads["a"]) for promise in peer.promised]
        assert kept == list(first.items())[-MAX_PROMISES:]


@given(
    key_sets,
    st.lists(st.tuples(steps, st.booleans(), st.lists(st.sampled_from(NAMES))), max_size=20),
    st.integers(0, 20),
)
def test_promises_that_are_forgotten_are_kept_by_those_after_them(
    start: set[str],
    changes: list[tuple[list[tuple[str, bool]], bool, list[str]]],
    left_at: int,
) -> None:
    """A receiver that has heard none of them finds missing what it would with all of them."""
    own, peer, numbering = OwnInterest(start), PeerInterest(1, start), Numbering()
    some, all_of_them = ReceiveState(), ReceiveState()
    promises: list[Promise] = []
    for positions in (some, all_of_them):
        positions.expect(1, start, ())
    for turn, (taken, announced, sent) in enumerate(changes):
        change = own.change(taken)
        if change is not None:
            peer.change(own.epoch, *change)
            for positions in (some, all_of_them):
                positions.expect(own.epoch, *change)
        if turn == left_at:
            before, peer = peer, PeerInterest(own.epoch, own.keys)
            peer.resume(before)
        if announced and own.epoch > (promises[-1].epoch if promises else 0):
            promises.append(Promise(own.epoch, numbering.covered(own.keys)))
            with patch.object(interest, "MAX_PROMISES", 3):
                peer.announce(own.epoch, promises[-1].heads)
        for name in sent:
            numbering.take(name, 1)
    assert len(peer.promised) <= 3
    heads = numbering.covered(own.keys)
    missing = all_of_them.ready(own.epoch, heads, [p.behind(heads) for p in promises])
    assert some.ready(own.epoch, heads, [p.behind(heads) for p in peer.promised]) == missing


def found(promised: Sequence[Promise], since: int, name: str) -> int | None:
    """Return where a name stood when it was first promised to who wants it since an epoch."""
    heads = next((promise.heads for promise in promised if promise.epoch >= since), None)
    return heads.get(name, 0) if heads is not None else None


@pytest.mark.parametrize("missed", [False, True])
def test_a_key_that_is_wanted_for_long_is_promised_for_as_long(missed: bool) -> None:
    """Also when it was told again, with all others, since a change was missed."""
    peer = PeerInterest(1, ["a"])
    peer.announce(1, {"a": 3})
    for epoch in range(2, 3 * MAX_PROMISES):
        if missed:
            peer.replace(epoch, ["a", f"b{epoch}"])
        else:
            peer.change(epoch, [f"b{epoch}"], [f"b{epoch - 1}"])
        peer.announce(epoch, {"a": 3 + epoch, f"b{epoch}": 1})
    assert len(peer.promised) == MAX_PROMISES
    assert found(peer.promised, 1, "a") == 3
    back = PeerInterest(3 * MAX_PROMISES, ["a"])
    back.resume(peer)
    for epoch in range(3 * MAX_PROMISES, 5 * MAX_PROMISES):
        back.change(epoch, ["c"], [])
        back.announce(epoch, {"a": 100})
    assert found(back.promised, 1, "a") == 3


def test_nobody_confirms_the_future() -> None:
    """A confirmation beyond the epoch that is known does not reach into later ones."""
    peer = PeerInterest(2, ["a"])
    peer.confirm(1 << 60)
    peer.change(3, ["b"], [])
    peer.announce(2, {})
    assert peer.unproven(3) == ("b",)


def test_what_was_promised_stays_held() -> None:
    """A connection that comes again with an older token takes nothing back."""
    interest = PeerInterest(1, ("a",))
    interest.announce(1, {})
    interest.change(2, ["b"], [])
    interest.announce(2, {})
    assert sorted(interest.held(1)) == ["a", "b"]
    interest.confirm(2)
    assert sorted(interest.held(1)) == ["a", "b"]
    interest.change(3, ["c"], ["b"])
    assert sorted(interest.held(2)) == ["a"]


def test_what_is_held_stays_held_when_all_is_told_anew() -> None:
    """A missed change costs no healthy peer its frames; what it wants no more is let go."""
    interest = PeerInterest(1, ["a", "b"])
    interest.announce(1, {})
    assert set(interest.held(1)) == {"a", "b"}
    interest.replace(3, ["a", "c"])
    assert set(interest.held(1)) == {"a"}
    assert not interest.in_force("a"), "that is promised anew"
    interest.change(4, [], ["a"])
    assert interest.held(1) == ()
    interest.change(5, ["a"], [])
    assert interest.held(1) == ()
    interest.announce(5, {})
    assert set(interest.held(5)) == {"a", "c"}


@pytest.mark.parametrize("how", ["together", "apart", "whole"])
def test_what_is_wanted_under_one_key_after_another_is_held_all_the_time(how: str) -> None:
    """Though the later one is still to be announced: of it, what both cover."""
    interest, numbering, account = PeerInterest(1, ["**"]), Numbering(), SentCounter()
    interest.announce(1, {})
    numbering.take("x", 3)
    account.promise(NameSet(interest.held(1)), numbering)
    if how == "together":
        interest.change(2, ["x", "a.*"], ["**"])
    elif how == "apart":
        interest.change(2, ["x", "a.*"], [])
        interest.change(3, [], ["**"])
    else:
        interest.replace(3, ["x", "a.*"])
    assert set(interest.held(1)) == {"x", "a.*"}
    account.promise(NameSet(interest.held(1)), numbering)
    for name in ("x", "y", "a.b"):
        numbering.take(name, 2)
    assert account.counts(numbering) == {"x": 2, "a.b": 2}
    interest.announce(interest.epoch, {})
    assert set(interest.held(interest.epoch)) == {"x", "a.*"}
    interest.change(4, [], ["a.*"])
    assert interest.held(4) == ("x",)


def test_a_key_that_is_dropped_and_wanted_again_is_not_held_meanwhile() -> None:
    """What is sent in between is not for it; under another one that waits, it is."""
    interest = PeerInterest(1, ["x"])
    interest.announce(1, {})
    interest.change(2, ["x"], ["x"])
    assert interest.held(1) == ()
    interest = PeerInterest(1, ["x"])
    interest.announce(1, {})
    interest.change(2, ["**"], [])
    interest.change(3, ["x"], ["x"])
    assert interest.held(1) == ("x",)
    interest.change(4, [], ["x"])
    assert interest.held(1) == ("x",)
    interest.change(5, [], ["**"])
    assert interest.held(1) == ()

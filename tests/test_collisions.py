"""Dicts and sets of members that collide: counted, and refused before they take for ever."""

import itertools
import random
import sys
from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from zexchange import collisions
from zexchange.collisions import FEW, crowd_a_dict, crowd_a_set, dict_of, set_of
from zexchange.errors import DecodeError
from zexchange.history import Bulk
from zexchange.local.typed import TypeMismatch, shape_of
from zexchange.protocol.codec.attachments import Attached, decode_frame
from zexchange.protocol.codec.values import decode, decode_batch, encode, register
from zexchange.protocol.wire.fields import unpack, unpack_all

MODULUS = (1 << 61) - 1
"""All multiples of it have the hash 0."""
COLLIDING: dict[str, list[Any]] = {
    "integers": [MODULUS * number for number in range(1000)],
    "tuples": [tuple(-1 - (n >> bit & 1) for bit in range(10)) for n in range(1000)],
    "frozensets": [frozenset([MODULUS * n, 5]) for n in range(1000)],
    "nested": [((number * MODULUS,), 1) for number in range(1000)],
}
_RANDOM = random.Random(1)
HARMLESS: dict[str, list[Any]] = {
    "in a row": list(range(5000)),
    "any": [_RANDOM.randrange(-(2**63), 2**64) for _ in range(5000)],
    "pages": [number << 12 for number in range(5000)],
    "far apart": [number << 40 for number in range(5000)],
    "nanoseconds": [1_732_900_000 * 10**9 + number * 10**6 for number in range(5000)],
    "seconds": [1.7329e9 + number / 1000 for number in range(5000)],
    "pairs": [(number, number % 7) for number in range(5000)],
    "one": [7] * 5000,
    "mixed": [*range(2000), *map(str, range(2000)), *(number / 8 for number in range(2000))],
}


def chain(count: int) -> list[int]:
    """Return 64-bit integers of different hashes that all stand in each other's way in a dict.

    Two thirds lie on the way that every search ends up with, and the rest come to it.
    """
    mask, choices = (1 << (count * 3 // 2).bit_length()) - 1, random.Random(2)
    way = [0]
    while len(way) < count * 2 // 3:
        way.append((way[-1] * 5 + 1) & mask)
    taken, keys = set(way), dict.fromkeys(way)
    while len(keys) < count:
        key = choices.choice(way) | choices.randrange(1 << 12) * (mask + 1)
        place, rest = key & mask, key
        while rest and place in taken:
            rest >>= 5
            place = (place * 5 + 1 + rest) & mask
        if place in taken:
            keys[key] = None
    return list(keys)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock finds a second more, as if all took long."""
    monkeypatch.setattr(collisions, "thread_time", itertools.count().__next__)


@pytest.mark.parametrize("members", COLLIDING.values(), ids=COLLIDING)
def test_equal_hashes_collide(members: list[Any]) -> None:
    """In dicts and sets, of whatever type they are."""
    assert crowd_a_dict(members)
    assert crowd_a_set(members)


def test_different_hashes_can_collide() -> None:
    """Where a search goes depends on the hash alone, so that all can be led to one way."""
    keys = chain(5000)
    assert len({hash(key) for key in keys}) == len(keys)
    assert crowd_a_dict(keys)


@pytest.mark.parametrize("members", HARMLESS.values(), ids=HARMLESS)
def test_what_programs_send_does_not(members: list[Any]) -> None:
    """Though many of these share the last bits of their hashes."""
    assert not crowd_a_dict(members)
    assert not crowd_a_set(members)


def grown_at(made: Any, put: Callable[[int], object]) -> list[int]:
    """With how many members a dict or set gets a larger table."""
    sizes = [sys.getsizeof(made)]
    for number in range(100_000):
        put(number)
        sizes.append(sys.getsizeof(made))
    return [n for n in range(11, len(sizes)) if sizes[n] != sizes[n - 1]]


def test_tables_grow_as_those_of_python() -> None:
    """Else it would be counted in tables that there never are."""
    keys: dict[int, int] = {}
    full = [count for _, count in collisions._dict_tables(100_000)][:-1]
    # With the key that finds no room.
    assert grown_at(keys, lambda n: keys.setdefault(n, n)) == [n + 1 for n in full if n >= 10]
    members: set[int] = set()
    full = [count for _, count in collisions._set_tables(100_000)][:-1]
    # With the member after which there is too little of it.
    assert grown_at(members, members.add) == [n for n in full if n > 10]


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("members", COLLIDING.values(), ids=COLLIDING)
def test_they_are_refused_where_it_takes_long(members: list[Any]) -> None:
    """As soon as that shows; a few may collide."""
    with pytest.raises(DecodeError, match="1000 keys that were made to collide"):
        dict_of([(member, 0) for member in members])
    for kind in (set, frozenset):
        with pytest.raises(DecodeError, match="1000 members that were made to collide"):
            set_of(kind, members)
    few = members[:FEW]
    assert dict_of([(member, 0) for member in few]) == dict.fromkeys(few, 0)
    assert set_of(set, few) == set(few)


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("members", HARMLESS.values(), ids=HARMLESS)
def test_nobody_is_refused_for_being_slow(members: list[Any]) -> None:
    """A busy machine makes nothing collide; and what comes out is the same in any case."""
    pairs = [(member, number) for number, member in enumerate(members)]
    assert list(dict_of(pairs).items()) == list(dict(pairs).items())
    assert set_of(set, members) == set(members)
    made = set_of(frozenset, members)
    assert type(made) is frozenset
    assert made == frozenset(members)


@pytest.mark.parametrize("count", [1, FEW, FEW + 1, 2 * FEW - 1, 2 * FEW, 2 * FEW + 1])
def test_what_is_quick_is_not_looked_at(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it goes in."""
    monkeypatch.setattr(collisions, "_crowd", pytest.fail)
    monkeypatch.setattr(collisions, "thread_time", lambda: 0.0)
    members = list(range(count))
    assert dict_of([(member, str(member)) for member in members]) == {m: str(m) for m in members}
    assert set_of(set, members) == set(members)


@pytest.mark.usefixtures("slow")
def test_texts_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows their hashes."""
    monkeypatch.setattr(collisions, "_crowd", pytest.fail)
    members = [*map(str, range(1000)), *(str(n).encode() for n in range(1000))]
    assert decode(encode([dict.fromkeys(members), set(members)])) == [
        dict.fromkeys(members),
        set(members),
    ]


def in_every_place(members: list[Any]) -> dict[str, bytes]:
    """Messages that have a dict or set of these somewhere."""
    keys = dict.fromkeys(members)
    return {
        "dict": encode(keys),
        "set": encode(set(members)),
        "frozenset": encode(frozenset(members)),
        "in a list": encode([1, {"a": [keys]}]),
        "in a tuple": encode(((keys,),)),
        "after much": encode([{"a": 1}] * 1000 + [keys]),
        "as a key": encode({frozenset(members): 1}),
        "in an unknown": encode((set(members), 1)),
    }


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("kind", COLLIDING)
def test_messages_with_them_are_refused(kind: str) -> None:
    """Wherever in a message they lie, alone and in a batch."""
    for body in in_every_place(COLLIDING[kind]).values():
        with pytest.raises(DecodeError, match="made to collide"):
            decode(body)
        with pytest.raises(DecodeError, match="made to collide"):
            decode_batch(body + b"\x01", 2)


@pytest.mark.usefixtures("slow")
def test_messages_with_frames_of_their_own_are_refused() -> None:
    """What is attached changes nothing for the rest."""
    body = encode([Attached(0, 3), dict.fromkeys(COLLIDING["integers"])])
    with pytest.raises(DecodeError, match="made to collide"):
        decode_frame(Bulk(body, (b"abc",)), 0, 1)


@pytest.mark.usefixtures("slow")
def test_control_frames_with_them_are_refused() -> None:
    """A key that nobody knows is skipped, but not before it was built."""
    keys = msgpack.packb(dict.fromkeys(chain(2000)))
    harmless = dict.fromkeys(msgpack.Timestamp(n, 0) for n in range(1000))
    for read in (unpack, unpack_all):
        with pytest.raises(DecodeError, match="made to collide"):
            read(keys)
        read(msgpack.packb(harmless))


@pytest.mark.usefixtures("slow")
def test_lists_that_become_sets_are_looked_at() -> None:
    """Other languages send lists; what a type makes of them is as large."""
    integers = COLLIDING["integers"]
    for kind in (set[int], frozenset[int], dict[str, set[int]]):
        value = {"a": integers} if kind == dict[str, set[int]] else integers
        with pytest.raises(TypeMismatch, match="made to collide"):
            shape_of(kind).decode(value)
    assert shape_of(set[int]).decode([1] * 1000) == {1}
    with pytest.raises(TypeMismatch, match="made to collide"):
        shape_of(set[tuple[int, ...]]).decode([[number] for number in integers])


class Seen:
    """Counts how often it is made."""

    made = 0

    def __init__(self, below: object) -> None:
        Seen.made += 1
        self.below = below


register(Seen, lambda seen: seen.below, Seen, name="test.Seen")


def test_a_nest_is_not_unpacked_over_and_over() -> None:
    """A dict whose keys are no texts lets a message be read again, but not at every level."""
    below: Any = dict.fromkeys(range(1000))
    for level in range(12):
        below = Seen([below, {level: 1}, dict.fromkeys(range(500))])
    body = encode([below, {1: 1}])
    Seen.made = 0
    decode(body)
    assert Seen.made <= 3 * 12


def test_dicts_of_any_keys_arrive_in_large_messages() -> None:
    """By each of the ways that there are to read them."""
    few, many = {1: "a", 2.5: "b", (1, 2): "c", "x": None}, dict.fromkeys(range(500))
    for message in ([few] * 200, [many], [{"x": 1}] * 500, [few, many, ({"y": few, "z": many},)]):
        assert decode(encode(message)) == message

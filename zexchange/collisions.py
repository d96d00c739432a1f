"""Dicts and sets whose members were chosen so that they stand in each other's way.

The rule of this module: time only says when to look; what is refused, is refused for what it is.
Python's hashes of numbers, moments and tuples are known, and a member looks for a free place
past all that stand in its way: members that were chosen for that take time by the square of
their number. So what arrives is put in a few at a time. Where that takes long, the members are
put into an empty table as CPython puts them, and it is counted how many are in the way. Texts
and bytes need none of this, for nobody can know their hashes.
"""

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from time import thread_time
from typing import Any, TypeVar

from .errors import DecodeError

S = TypeVar("S", set[Any], frozenset[Any])

FEW = 64
"""Members that may all stand in each other's way."""
MOST_IN_THE_WAY = 100
"""Members in the way of each, on average, beyond which they were chosen for it."""
_AT_ONCE = 64
_MOST_AT_ONCE = 1000 * _AT_ONCE
"""In the way of so many in a row: nothing but a choice makes it as bad, so why count on."""
_SECONDS_EACH = 4e-6
"""Time for each member after which they are looked at; most take a twentieth of it."""
_SECONDS_MORE = 5e-4
_SECRET_HASHES = frozenset((str, bytes))
_SET_RUN = 9
"""Places next to each other that a set looks at before it jumps."""
_TO_COMPARE = 8
"""For so many counts one in the way whose hash is the same, so that the two are compared."""
_UNSIGNED = (1 << 64) - 1
_key = itemgetter(0)


def dict_of(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return a dict of keys and values that have arrived.

    Raises:
        DecodeError: the keys were chosen so that it would take far longer than of others.
        TypeError: a key is not hashable.
    """
    if len(pairs) <= FEW or _SECRET_HASHES.issuperset(map(type, map(_key, pairs))):
        return dict(pairs)
    made: dict[Any, Any] = {}
    done = _put(pairs, made.update)
    if done < len(pairs):
        if crowd_a_dict(list(map(_key, pairs))):
            raise DecodeError(f"a dict of {len(pairs)} keys that were made to collide")
        made.update(pairs[done:])
    return made


def set_of(kind: type[S], members: Sequence[Any]) -> S:
    """Return a set or frozenset of members that have arrived.

    Raises:
        DecodeError: they were chosen so that it would take far longer than of others.
        TypeError: a member is not hashable.
    """
    if len(members) <= FEW or _SECRET_HASHES.issuperset(map(type, members)):
        return kind(members)
    made: set[Any] = set()
    done = _put(members, made.update)
    if done < len(members):
        if crowd_a_set(members):
            raise DecodeError(f"a set of {len(members)} members that were made to collide")
        made.update(members[done:])
    return kind(made)


def _put(members: Sequence[Any], put: Callable[[Sequence[Any]], None]) -> int:
    """Put in members as long as that does not take long; return how many are in."""
    began = thread_time()
    for done in range(_AT_ONCE, len(members), _AT_ONCE):
        put(members[done - _AT_ONCE : done])
        if thread_time() - began > _SECONDS_MORE + done * _SECONDS_EACH:
            return done
    put(members[-(len(members) % _AT_ONCE or _AT_ONCE) :])
    return len(members)


def crowd_a_dict(keys: Sequence[Any]) -> bool:
    """Return whether these keys stand in each other's way in a dict."""
    return _crowd(keys, _dict_tables(len(keys)), 0)


def crowd_a_set(members: Sequence[Any]) -> bool:
    """Return whether these members stand in each other's way in a set."""
    return _crowd(members, _set_tables(len(members)), _SET_RUN)


def _crowd(members: Sequence[Any], tables: Iterator[tuple[int, int]], run: int) -> bool:
    hashes = list(map(hash, members))
    return any(_fill(members[:count], hashes, size, run) for size, count in tables if count > FEW)


def _dict_tables(count: int) -> Iterator[tuple[int, int]]:
    """Yield the size of each table that a growing dict has, and how many keys lie in it."""
    size = 8
    while count > (room := size * 2 // 3):
        yield size, room
        size *= 2
    yield size, count


def _set_tables(count: int) -> Iterator[tuple[int, int]]:
    """Yield the size of each table that a growing set has, and how many members lie in it."""
    size = 8
    while count >= (full := -(-3 * (size - 1) // 5)):
        yield size, full
        size = 1 << (full * (4 if full <= 50_000 else 2)).bit_length()
    yield size, count


def _fill(members: Sequence[Any], hashes: list[int], size: int, run: int) -> bool:
    """Put members into an empty table; return whether too many stand in each other's way."""
    table: list[int | None] = [None] * size
    mask, in_the_way, before = size - 1, 0, 0
    for number, known in enumerate(hashes[: len(members)]):
        start = place = known & mask
        rest = known & _UNSIGNED
        last = place + run if place + run <= mask else place
        while (other := table[place]) is not None:
            if hashes[other] == known:
                if members[other] == members[number]:
                    break
                in_the_way += _TO_COMPARE
            in_the_way += 1
            if place < last:
                place += 1
                continue
            rest >>= 5
            start = place = (start * 5 + 1 + rest) & mask
            last = place + run if place + run <= mask else place
        else:
            table[place] = number
        if number % _AT_ONCE == 0:
            before = in_the_way
        most = MOST_IN_THE_WAY * (number + 1)
        if in_the_way > most or in_the_way - before > _MOST_AT_ONCE:
            return True
    return False

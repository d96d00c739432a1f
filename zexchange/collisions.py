"""Dicts and sets from the network, and senders that chose their members to collide.

Python hashes a number to the same value in every process, and so a datetime with a time zone, or a
tuple of such values. A sender can therefore choose members that all start at the same place of the
hash table. Each of them has to step over the members before it, so that the time to insert all of
them grows with the square of their number. The hashes of strings and bytes depend on a secret of
each process: a dict or set with no other members needs no check.

A limit on time alone would refuse honest messages on a busy machine. So time only decides when to
look closer, and a message is refused for its content:

1. `dict_of` and `set_of` insert the members in small batches and measure the CPU time of the
   thread. Almost every message ends here, at the price of reading a clock for each batch.
2. If the insertion is much slower than usual, it is interrupted. `_fill` then inserts the members
   into a simulated hash table, with the order in which CPython probes: a dict jumps at each step, a
   set looks at `_SET_RUN` neighbours before it jumps. This is done once for each size that the real
   table has while it grows, since members may collide in one size only.
3. `_fill` counts the occupied places on the way, and stops as soon as there are more than
   `MOST_IN_THE_WAY` per member, or more than `_MOST_AT_ONCE` within one batch. Then the message is
   refused with `DecodeError`. Otherwise the machine was slow, and the other members are inserted.
"""

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from time import thread_time
from typing import Any, TypeVar

from .errors import DecodeError

S = TypeVar("S", set[Any], frozenset[Any])

FEW = 64
"""Up to so many members are never checked: they take little time, even if all of them collide."""
MOST_IN_THE_WAY = 100
"""Occupied places per member, on average. Only members that were chosen to collide exceed it."""
_AT_ONCE = 64
"""Members in one batch."""
_MOST_AT_ONCE = 1000 * _AT_ONCE
"""Occupied places in one batch. Only chosen members exceed it, so counting can stop there."""
_SECONDS_EACH = 4e-6
"""CPU time per member beyond which the members are checked; a usual one takes a twentieth."""
_SECONDS_MORE = 5e-4
"""CPU time that is allowed once, in addition to that of the members."""
_SECRET_HASHES = frozenset((str, bytes))
_SET_RUN = 9
"""Neighbouring places that a set looks at before it jumps."""
_TO_COMPARE = 8
"""Added to the count for a member with the same hash, since the two have to be compared."""
_UNSIGNED = (1 << 64) - 1
_key = itemgetter(0)


def dict_of(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return a dict of the received pairs of keys and values.

    Raises:
        DecodeError: the keys were chosen to collide, which would take far too long.
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
    """Return a set or frozenset of the received members.

    Raises:
        DecodeError: the members were chosen to collide, which would take far too long.
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
    """Insert members until all are in or it takes too long; return how many are in."""
    began = thread_time()
    for done in range(_AT_ONCE, len(members), _AT_ONCE):
        put(members[done - _AT_ONCE : done])
        if thread_time() - began > _SECONDS_MORE + done * _SECONDS_EACH:
            return done
    put(members[-(len(members) % _AT_ONCE or _AT_ONCE) :])
    return len(members)


def crowd_a_dict(keys: Sequence[Any]) -> bool:
    """Return whether these keys collide too often in a dict."""
    return _crowd(keys, _dict_tables(len(keys)), 0)


def crowd_a_set(members: Sequence[Any]) -> bool:
    """Return whether these members collide too often in a set."""
    return _crowd(members, _set_tables(len(members)), _SET_RUN)


def _crowd(members: Sequence[Any], tables: Iterator[tuple[int, int]], run: int) -> bool:
    hashes = list(map(hash, members))
    return any(_fill(members[:count], hashes, size, run) for size, count in tables if count > FEW)


def _dict_tables(count: int) -> Iterator[tuple[int, int]]:
    """Yield each table size of a dict that grows to ``count`` keys, and how many keys it gets."""
    size = 8
    while count > (room := size * 2 // 3):
        yield size, room
        size *= 2
    yield size, count


def _set_tables(count: int) -> Iterator[tuple[int, int]]:
    """Yield each table size of a set that grows to ``count`` members, and how many it gets."""
    size = 8
    while count >= (full := -(-3 * (size - 1) // 5)):
        yield size, full
        size = 1 << (full * (4 if full <= 50_000 else 2)).bit_length()
    yield size, count


def _fill(members: Sequence[Any], hashes: list[int], size: int, run: int) -> bool:
    """Insert members into an empty simulated table; return whether they collide too often.

    Args:
        members: to insert; equal ones are inserted once.
        hashes: of the members, and perhaps of more after them.
        size: of the table, a power of two.
        run: how many neighbours are looked at before each jump.
    """
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

"""Nodes on this host that this process does not meet: other directories, other federations.

They are read from the rendezvous directories, for errors that say where else to look. No node is
dialled.
"""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from .directories import bases, folder, is_ours, unseen
from .node_files import lives

NAMED = 5
"""Most federations that are named."""


def elsewhere(federation: str) -> tuple[str, ...]:
    """Return the directories with nodes of a federation in which this process does not look."""
    return tuple(str(place.parent) for place in unseen(federation) if _inhabited(place))


def others(federation: str) -> tuple[str, ...]:
    """Return the other federations of this user that have nodes where this process looks.

    At most `NAMED`, and only those whose folder shows their name.
    """
    own = folder(federation)
    places = (place for base in bases() if is_ours(base) for place in sorted(base.iterdir()))
    named = (place for place in places if place.name != own and place.name[0] != "~")
    found = dict.fromkeys(place.name for place in named if is_ours(place) and _inhabited(place))
    return tuple(islice(found, NAMED))


def told(federation: str, looked_into: Sequence[Path]) -> list[str]:
    """Return a list with one sentence that names other federations; empty if there are none.

    Args:
        federation: of the node that asks.
        looked_into: the directories in which it looks for others; if none, the list is empty.
    """
    try:
        found = others(federation) if looked_into else ()
    except OSError:  # a directory was removed meanwhile
        return []
    names = ", ".join(map(repr, found))
    return [f"on this host there are nodes of other federations: {names}"] if found else []


def _inhabited(place: Path) -> bool:
    return any(map(lives, place.glob("*.node")))

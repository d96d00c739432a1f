"""Nodes on this host that are not met: in places that are not looked into, in other federations.

Read off the rendezvous directories, for errors that say where else to look. No node is dialled.
"""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from .directories import bases, folder, is_ours, unseen
from .node_files import lives

NAMED = 5
"""Federations that are named at most."""


def elsewhere(federation: str) -> tuple[str, ...]:
    """Return where nodes of a federation live that do not look where this process does."""
    return tuple(str(place.parent) for place in unseen(federation) if _inhabited(place))


def others(federation: str) -> tuple[str, ...]:
    """Return the other federations of this user that have nodes where this process looks.

    Those whose names can be read off a directory, and the first few of them.
    """
    own = folder(federation)
    places = (place for base in bases() if is_ours(base) for place in sorted(base.iterdir()))
    named = (place for place in places if place.name != own and place.name[0] != "~")
    found = dict.fromkeys(place.name for place in named if is_ours(place) and _inhabited(place))
    return tuple(islice(found, NAMED))


def told(federation: str, looked_into: Sequence[Path]) -> list[str]:
    """Return a sentence that names those, in a list; an empty list if there are none.

    Args:
        federation: of the node that asks.
        looked_into: where it looks for others; if nowhere, nothing is said.
    """
    try:
        found = others(federation) if looked_into else ()
    except OSError:  # a directory has gone meanwhile
        return []
    names = ", ".join(map(repr, found))
    return [f"on this host there are nodes of other federations: {names}"] if found else []


def _inhabited(place: Path) -> bool:
    return any(map(lives, place.glob("*.node")))

"""By what a message came: a Unix socket of this user's, a connection with a key, or a hub.

What somebody may do belongs to the connection that it uses, and not to the id that it gives.
A node may come by several kinds at a time; what comes by a lesser kind than its own counts for
nothing, for others may be able to speak there.
"""

import enum
from dataclasses import dataclass

from .permissions import EVERYTHING, Rights


class Kind(enum.IntEnum):
    """The kinds of connections: of two, the higher one shows better who is at its other end."""

    HUB = 1
    """A hub vouches for the sender."""
    KEY = 2
    """The other end has proven to have a key."""
    NEAR = 3
    """A Unix socket that only this user can reach; also all where nobody has keys."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A connection that a message came by, and what may be done there."""

    kind: Kind
    rights: Rights


OURS = Channel(Kind.NEAR, EVERYTHING)
"""A connection of this user's own processes, or any, where nobody has keys."""

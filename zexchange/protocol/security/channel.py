"""The connection that a message came by: a Unix socket of this user, one with a key, or a hub.

Rights belong to the connection of a sender, and not to the id that it gives. A node may use
several kinds of connections at a time. A message on a lower kind than the node's highest one is
ignored, because others may be able to send there.
"""

import enum
from dataclasses import dataclass

from .permissions import EVERYTHING, Rights


class Kind(enum.IntEnum):
    """The kinds of connections; the higher one proves better which user is at the other end."""

    HUB = 1
    """A hub vouches for the sender."""
    KEY = 2
    """The other end has proven to have a key."""
    NEAR = 3
    """A Unix socket that only this user can reach; without keys, any connection."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A connection that a message came by, and the rights of its user."""

    kind: Kind
    rights: Rights


OURS = Channel(Kind.NEAR, EVERYTHING)
"""A connection of this user's own processes; without keys, any connection."""

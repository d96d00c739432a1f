"""Finds the key of the server at an endpoint by trying one authorized key after the other.

A user gives an endpoint without a key, and a server cannot be asked for its key, because only
authorized keys are trusted. A CURVE handshake succeeds only if the right key was tried; before
that we send nothing but the public half of our own key, encrypted for the key that is tried.
Nothing here opens a connection.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from .permissions import Policy


@dataclass(slots=True)
class KeySearch:
    """The keys to try at one endpoint, in rounds over all that are authorized."""

    known: bytes = b""
    """The key that succeeded last, or that was given: tried first."""
    left: list[bytes] = field(default_factory=list[bytes])
    tried: int = 0
    rounds: int = 0
    """How many rounds in a row have failed."""

    def begin(self, keys: Sequence[bytes]) -> None:
        """Begin a round over some keys."""
        first = [key for key in keys if key == self.known]
        self.left = [*first, *(key for key in keys if key != self.known)]
        self.tried = 0

    def next(self) -> bytes | None:
        """Return the key to try now; None if none is left in this round."""
        if not self.left:
            return None
        self.tried += 1
        return self.left.pop(0)

    def failed(self) -> bool:
        """Note that the key that was tried is wrong; return whether others are left."""
        self.rounds += not self.left
        return bool(self.left)

    def stands(self, key: bytes) -> None:
        """Note that a key is the right one."""
        self.known, self.left, self.rounds = key, [], 0


def keys_to_try(policy: Policy, host: str, hub: bool = False) -> list[bytes]:
    """Return the authorized keys in the order to try them: those named like the host first.

    If a hub is looked for, all keys that may be a hub's come before the others. The others are
    tried, too: so a server can be found whose key lacks the mark ``hub``, and be reported.
    """
    host = host.strip("[]")
    named = [key for name in (host, host.partition(".")[0]) for key in policy.named(name)]
    others = [key for key in policy.authorized if key != policy.own]
    keys = list(dict.fromkeys([*named, *others, policy.own]))
    return sorted(keys, key=lambda key: not policy.is_hub(key)) if hub else keys

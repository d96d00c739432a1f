"""Which key to expect behind an endpoint: one authorized key after the other is tried.

An endpoint that a user names has no key beside it, and what stands behind it may not say
which: only what is authorized here is believed. CURVE proves that the right one was tried,
and before that nothing is said but the public half of our own key, in a box for the key
that is tried. Nothing here opens a connection.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from .permissions import Policy


@dataclass(slots=True)
class KeySearch:
    """The keys that are left to try at one endpoint in this round."""

    known: bytes = b""
    """The key that was there last, or was told: tried first."""
    left: list[bytes] = field(default_factory=list[bytes])
    tried: int = 0
    rounds: int = 0
    """How many went by without the right one."""

    def begin(self, keys: Sequence[bytes]) -> None:
        """Begin a round over some keys."""
        first = [key for key in keys if key == self.known]
        self.left = [*first, *(key for key in keys if key != self.known)]
        self.tried = 0

    def next(self) -> bytes | None:
        """Return the key to try now; None if there is none."""
        if not self.left:
            return None
        self.tried += 1
        return self.left.pop(0)

    def failed(self) -> bool:
        """Note that the key that was tried is a wrong one; tell whether others are left."""
        self.rounds += not self.left
        return bool(self.left)

    def stands(self, key: bytes) -> None:
        """Note that a key was the right one."""
        self.known, self.left, self.rounds = key, [], 0


def keys_to_try(policy: Policy, host: str, hub: bool = False) -> list[bytes]:
    """Return the authorized keys, those first whose name is that of the host.

    Before them, where a hub is looked for, those that may be one; and behind them the others,
    for it is better to know that a hub is there which may not be one.
    """
    host = host.strip("[]")
    named = [key for name in (host, host.partition(".")[0]) for key in policy.named(name)]
    others = [key for key in policy.authorized if key != policy.own]
    keys = list(dict.fromkeys([*named, *others, policy.own]))
    return sorted(keys, key=lambda key: not policy.is_hub(key)) if hub else keys

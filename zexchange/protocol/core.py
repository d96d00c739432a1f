"""What every part of the session shares: who we are, whom we know, and what is to be done.

The parts decide; here is only where they write it down. Nothing here knows when or why.
"""

from .effects import Effect, Reply, Say, Tell, Wanted
from .events import Event, Rejected
from .interest import OwnInterest
from .membership import Membership, Peer
from .values import Address, Control, Hello, Label


class Core:
    """One node's state, and the effects that wait to be carried out."""

    def __init__(
        self, me: bytes, federation: str, label: Label, addresses: tuple[Address, ...], now: float
    ) -> None:
        self.me = me
        self.federation = federation
        self.label = label
        self.addresses = addresses
        self.interest = OwnInterest()
        self.members = Membership(now)
        self.effects: list[Effect] = []
        self.rejections: dict[tuple[str, str], int] = {}

    def do(self, effect: Effect) -> None:
        """Ask the shell for something."""
        self.effects.append(effect)

    def say(self, peer: Peer, message: Control) -> None:
        """Tell a peer something, if there is a link to it."""
        if peer.link is not None:
            self.do(Say(peer.link, message))

    def reply(self, route: object, message: Control) -> None:
        """Answer a message where it came from."""
        self.do(Reply(route, message))

    def tell(self, event: Event) -> None:
        """Tell the user something."""
        self.do(Tell(event))

    def wanted(self, keys: set[str]) -> None:
        """Have the exchanges looked at that gained or lost an interested peer."""
        if keys:
            self.do(Wanted(tuple(keys)))

    def reject(self, source: str, reason: str, detail: str = "") -> None:
        """Count something that was not taken; tell of the first of its kind."""
        count = self.rejections[source, reason] = self.rejections.get((source, reason), 0) + 1
        if count == 1:
            self.tell(Rejected(source, reason, count, detail))

    def hello(self) -> Hello:
        """Return our hello, as of now."""
        return Hello(
            sender=self.me,
            federation=self.federation,
            label=self.label,
            addresses=self.addresses,
            epoch=self.interest.epoch,
            interest=tuple(self.interest.keys),
        )

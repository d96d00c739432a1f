"""Where candidate peers come from, beside the rendezvous directory and what peers know.

Addresses that the user named are dialled for as long as the node lives. A name may stand
for many addresses, all of which are dialled, and is asked again, since they change (the
pods of a headless service do). The same holds for what is found on the local network.
Control thread only; what takes time happens elsewhere and is posted here.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...protocol.session.session import Session
from ..config import LAN
from ..transport.dns import Resolver, needs_lookup

if TYPE_CHECKING:
    from .mdns import MdnsDiscovery

REFRESH = 5.0
"""Seconds after which a name is looked up again."""
RETRY = 1.0
"""Seconds after which a name is looked up again that had no address."""
LAN_FIRST = 0.7
"""Seconds in which the first answers come from the local network."""


@dataclass(slots=True)
class Name:
    """What is known of a name. ``why`` says why it has no address, if that was said last."""

    found: tuple[str, ...] = ()
    why: str = ""
    ask_at: float = 0.0
    asking: bool = False
    answered: bool = False


@dataclass(eq=False)
class Discovery:
    """What one node was told to look for, and what was found."""

    session: Session
    lookups: Resolver
    peers: tuple[str, ...]
    monotonic: Callable[[], float]

    def __post_init__(self) -> None:
        self.names = {peer: Name() for peer in self.peers if needs_lookup(peer)}
        self.around: dict[str, tuple[str, ...]] = {}
        """What was found on the local network: by the name of a service, its endpoints."""
        self.lan: MdnsDiscovery | None = None
        self._lan_since = 0.0

    def start(self, now: float, lan: "MdnsDiscovery | None" = None) -> None:
        """Dial what has an address, look up what has a name, and ask the local network."""
        for endpoint in self.peers:
            if endpoint not in self.names:
                self.session.candidates.add(endpoint, "static", now)
        self.lan, self._lan_since = lan, now
        for endpoint in self.names:
            self.session.members.given.looked_up(endpoint, ())
        if lan is not None:
            lan.start(self._seen)
        self.tick(now)

    def tick(self, now: float) -> None:
        """Look up what is due."""
        for endpoint, name in self.names.items():
            if not name.asking and now >= name.ask_at:
                self._ask(endpoint, name, now)

    def _ask(self, endpoint: str, name: Name, now: float) -> None:
        name.asking, name.ask_at = True, now + REFRESH

        def answered(found: list[str], why: str) -> None:
            name.asking, name.answered, name.why = False, True, why
            given = self.session.members.given
            if found:
                name.found = tuple(found)
                given.looked_up(endpoint, name.found)
                self._dial(name.found, "dns")
            else:
                # What it stood for is dialled on: the name server may be what is gone.
                name.ask_at = now + RETRY
                if not name.found:
                    given.looked_up(endpoint, (), f"cannot resolve the name: {why}")
                self.session.reject(endpoint, "cannot resolve the name", why)

        self.lookups.ask(endpoint, answered)

    def _seen(self, service: str, endpoints: tuple[str, ...]) -> None:
        """Take what the local network says of a service; no endpoints: it is gone."""
        if endpoints:
            self.around[service] = endpoints
        else:
            self.around.pop(service, None)
        self._dial(endpoints, LAN)

    def _dial(self, endpoints: Iterable[str], source: str) -> None:
        """Dial what was found, and what was found before and is not any more no longer."""
        now = self.monotonic()
        for endpoint in endpoints:
            self.session.candidates.add(endpoint, source, now)
        known = {e for name in self.names.values() for e in name.found}
        known.update(e for found in self.around.values() for e in found)
        self.session.candidates.keep(("dns", LAN), known)

    def pending(self, now: float) -> Iterator[str]:
        """Say what may lead to candidates and has not answered yet, beside what was given."""
        given = self.session.members.given
        for endpoint, name in self.names.items():
            if not name.answered and endpoint not in given:
                yield f"{endpoint} is being looked up"
        if self.lan is not None and now - self._lan_since < LAN_FIRST:
            yield "the local network is being asked"

    def close(self) -> None:
        """Leave the local network, in the background."""
        if self.lan is not None:
            self.lan.close()

    def join(self, timeout: float) -> None:
        """Wait until that is done. Any thread."""
        if self.lan is not None:
            self.lan.join(timeout)

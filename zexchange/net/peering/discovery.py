"""Candidates from the addresses that the user gave, from DNS and from the local network.

Given addresses are dialled for as long as the node lives. A name may stand for many addresses, all
of which are dialled. It is looked up again and again, since its addresses may change, as those of
the pods of a headless service do. Nodes found on the local network are treated alike. (Candidates
also come from the rendezvous directory and from peers, but not through this module.)

Control thread only; slow work is done on other threads, which post the result here.
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
"""Seconds between two look-ups of a name."""
RETRY = 1.0
"""Seconds until the next look-up of a name that had no address."""
LAN_FIRST = 0.7
"""Seconds within which the first answers from the local network arrive."""


@dataclass(slots=True)
class Name:
    """The state of a name. ``why`` says why the last look-up found no address, if it did not."""

    found: tuple[str, ...] = ()
    why: str = ""
    ask_at: float = 0.0
    asking: bool = False
    answered: bool = False


@dataclass(eq=False)
class Discovery:
    """The addresses, names and services of one node's candidates."""

    session: Session
    lookups: Resolver
    peers: tuple[str, ...]
    monotonic: Callable[[], float]

    def __post_init__(self) -> None:
        self.names = {peer: Name() for peer in self.peers if needs_lookup(peer)}
        self.around: dict[str, tuple[str, ...]] = {}
        """The services found on the local network: by name, their endpoints."""
        self.lan: MdnsDiscovery | None = None
        self._lan_since = 0.0

    def start(self, now: float, lan: "MdnsDiscovery | None" = None) -> None:
        """Dial the given addresses, look up the given names, and query the local network."""
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
        """Look up the names whose time has come."""
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
                # The addresses found before are still dialled: perhaps only the name server is
                # gone.
                name.ask_at = now + RETRY
                if not name.found:
                    given.looked_up(endpoint, (), f"cannot resolve the name: {why}")
                self.session.reject(endpoint, "cannot resolve the name", why)

        self.lookups.ask(endpoint, answered)

    def _seen(self, service: str, endpoints: tuple[str, ...]) -> None:
        """Take the endpoints of a service on the local network; none if the service is gone."""
        if endpoints:
            self.around[service] = endpoints
        else:
            self.around.pop(service, None)
        self._dial(endpoints, LAN)

    def _dial(self, endpoints: Iterable[str], source: str) -> None:
        """Dial these endpoints, and stop dialling those that are no longer found anywhere."""
        now = self.monotonic()
        for endpoint in endpoints:
            self.session.candidates.add(endpoint, source, now)
        known = {e for name in self.names.values() for e in name.found}
        known.update(e for found in self.around.values() for e in found)
        self.session.candidates.keep(("dns", LAN), known)

    def pending(self, now: float) -> Iterator[str]:
        """Return texts on unfinished searches, except those for given endpoints."""
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
        """Wait until the local network has been left. Any thread."""
        if self.lan is not None:
            self.lan.join(timeout)

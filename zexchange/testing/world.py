"""The environment of one simulated node, without real sockets, threads and clocks."""

import random
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from ..net.config import NodeConfig
from ..net.engine.environment import NodeEnvironment
from ..protocol.session.session import Session
from ..protocol.wire.messages import Address
from .schedule import Host, Schedule
from .sockets import Router, Sockets, XPub
from .threads import Bell, Condition, Loop, Poller, Sender, Waker
from .wire import Wire

RESCAN = 2.0
"""Seconds between two looks into the directory."""


Directory = defaultdict[str, dict[str, Host]]
"""Stands in for the rendezvous directories: by federation, the host at each endpoint."""


class Places:
    """Stands in for `zexchange.net.peering.binding.Listeners`."""

    def __init__(
        self,
        directory: Directory,
        host: Host,
        plan: NodeConfig,
        node: str,
        router: Router,
        xpub: XPub,
        *_: object,
    ) -> None:
        self._host = host
        self._nodes = directory[plan.federation]
        self._rescan_at = 0.0
        self._control, data = (f"ipc://{host.name}.{node[:8]}.{kind}" for kind in ("c", "d"))
        router.bind(self._control)
        xpub.bind(data)
        self.addresses = (Address(self._control, data),)
        self.bound: tuple[str, ...] = ()

    def publish(self) -> None:
        """Add our control endpoint to the directory."""
        self._nodes[self._control] = self._host

    def reachable(self, address: Address) -> bool:
        """Return true: a probe will tell whether somebody listens there."""
        return True

    hidden = False

    def mind_descriptors(self, session: Session) -> None:
        """Do nothing: descriptors are unlimited."""

    def rescan(self, session: Session, now: float) -> bool:
        """Look every `RESCAN` seconds which nodes are there and which have gone."""
        if now < self._rescan_at:
            return False
        self._rescan_at = now + RESCAN
        living = [endpoint for endpoint, host in self._nodes.items() if host.alive]
        for endpoint in living:
            session.candidates.add(endpoint, "rendezvous", now)
        session.candidates.keep(("rendezvous",), living)
        return False

    def withdraw(self) -> None:
        """Remove our control endpoint from the directory."""
        self._nodes.pop(self._control, None)

    def release(self) -> None:
        """Do nothing: no process is forked here."""


class Probes:
    """Stands in for `zexchange.net.transport.probes.Probes`, and answers at once or never."""

    def __init__(self, wire: Wire, host: Host, poller: Poller) -> None:
        self._wire = wire
        self._host = host

    def probe(self, endpoint: str, now: float, answer: Callable[[str, bool], None]) -> None:
        """Call ``answer`` with whether anything listens, unless the nodes are cut off."""
        bound = self._wire.listening(endpoint)
        if bound is None or self._wire.reaches(self._host, bound.host):
            answer(endpoint, bound is not None)

    def expire(self, now: float) -> None:
        """Do nothing: every answer was given at once."""

    def close(self) -> None:
        """Do nothing: no probe is under way."""


class SimulatedEnvironment(NodeEnvironment):
    """The environment of one node in a simulated network."""

    def __init__(
        self,
        schedule: Schedule,
        wire: Wire,
        directory: Directory,
        host: Host,
        chance: random.Random,
    ) -> None:
        self.monotonic = self.spent = schedule.monotonic
        self.time = schedule.time
        self.host = host
        self._random = chance
        self.sockets: Any = partial(Sockets, wire, host)
        self.poller: Any = partial(Poller, host)
        self.waker: Any = partial(Waker, host)
        self.condition: Any = partial(Condition, schedule)
        self.bell: Any = partial(Bell, schedule)
        self.loop: Any = partial(Loop, schedule, host)
        self.sender: Any = partial(Sender, schedule, host)
        self.places: Any = partial(Places, directory, host)
        self.probes: Any = partial(Probes, wire, host)
        self.descriptors = lambda: None  # unlimited
        self.descriptors_at_most = lambda enough: None

    def new_id(self) -> bytes:
        """See `NodeEnvironment`."""
        return self._random.randbytes(16)

    async def aside(self, call: Callable[[], None]) -> None:
        """See `NodeEnvironment`. Nothing blocks here, so the call is made at once."""
        call()

    def lend(self) -> bool:
        """See `NodeEnvironment`. Nothing has to be prepared here."""
        return True

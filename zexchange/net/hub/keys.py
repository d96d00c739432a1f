"""The keys of a hub: who comes in, what is asked of whom, and who is cut off.

The guard is the one that nodes have. Here is what a hub does beside: it knows every
connection to its own sockets, so that a key that is revoked has none left, and it does not
tell publishers what is listened to where some of them must not know. On the hub's thread;
without keys nothing is judged.
"""

from typing import TYPE_CHECKING

import zmq
from zmq.utils.monitor import recv_monitor_message

from ...protocol.hub.access import KeyedAccessRules
from ...protocol.security.permissions import Policy
from ...protocol.wire.data import DATA
from ..security.connections import Connection, connection, cut
from ..security.guard import CurveGuard
from ..transport.polling import Poller
from ..transport.sockets import EVENTS, READABLE, subscribe, unsubscribe

if TYPE_CHECKING:
    from ...protocol.hub.core import HubCore
    from .links import HubLinks
    from .sockets import HubSockets


class HubAuth:
    """The keys of one hub, and what follows from them."""

    def __init__(self, guard: CurveGuard, sockets: "HubSockets", poller: Poller) -> None:
        self._guard = guard
        self._sockets = sockets
        self._up: dict[int, Connection] = {}
        self._names: set[bytes] = set()
        self._hiding = False
        self.gate: KeyedAccessRules | None = None
        guard.open(sockets, poller, sockets.control, sockets.down)
        if guard.gate is not None:
            self.gate = KeyedAccessRules(guard.in_force)
            sockets.judge()

    def start(self, core: "HubCore", links: "HubLinks") -> None:
        """Begin to act; before the hub's thread does."""
        self._core, self._links = core, links
        self._guard.listener = links
        self._hide()

    # ------------------------------------------------------------------- what goes on

    def user(self, frame: zmq.Frame) -> str | None:
        """Return whom a control frame came from, nothing without keys; None if it may not speak."""
        key = self._guard.user(frame)
        if key is None:
            self._core.reject("a message of a key that is not authorized any more")
            return None
        return key.hex()

    def read_ended(self) -> None:
        """Take note of the connections by which nodes publish that have come or ended."""
        ended = self._sockets.ended
        while int(ended.getsockopt(EVENTS)) & READABLE:
            event = recv_monitor_message(ended)
            fd = int(event["value"])
            if event["event"] == zmq.EVENT_DISCONNECTED:
                self._core.disconnected(fd)
                self._up.pop(fd, None)
            elif (found := connection(fd)) is not None and self.gate is not None:
                self._up[fd] = found

    def names(self, topic: bytes, wanted: bool) -> bool:
        """Note that a name or prefix is wanted of publishers; tell whether they are to know.

        A SUB subscribes at all of them alike. Where some must not be told what is listened to,
        all are asked for everything that they send: they send what their peers want.
        """
        (self._names.add if wanted else self._names.discard)(topic)
        return not self._hiding

    def _hide(self) -> None:
        """Ask publishers by name, or for everything, as the permissions are now."""
        policy = self._guard.policy
        hiding = policy is not None and policy.hides_interest
        if hiding is self._hiding:
            return
        self._hiding = hiding
        before, after = (self._names, {DATA}) if hiding else ({DATA}, self._names)
        subscribe(self._sockets.up, *after)
        unsubscribe(self._sockets.up, *before)

    # ------------------------------------------------------------------------------ time

    def tick(self, now: float) -> None:
        """Let time pass; act on it if other keys are authorized, or for something else."""
        before = self._guard.policy
        policy = self._guard.tick(now)
        if policy is not None and before is not None:
            self._change(before, policy)

    def _change(self, before: Policy, policy: Policy) -> None:
        """Cut off whoever has a key that may do something else now; who may, comes back."""
        changed = before.changed(policy)
        self._core.judge({key.hex() for key in changed})
        self._hide()
        if changed:
            # Those to publish by, too. Who has not said yet whose one is says it again.
            for fd, found in self._up.items():
                if fd not in self._core.by_connection:
                    cut(found)
        self._guard.cut(changed)
        self._links.judge(before, policy)

"""The keys of a hub: which nodes it admits, what it subscribes to at them, whom it cuts off.

The guard is the same as in nodes. This file adds what only a hub does. It knows every connection
to its own sockets, so that a revoked key has none left. And if some publishers must not learn
what others listen to, it hides the subscriptions from all of them. On the hub's thread; without
keys nothing is judged.
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
    """Authenticates the connections of one hub, and cuts them when their permissions change."""

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
        """Take the core and the links. Called before the hub's thread starts."""
        self._core, self._links = core, links
        self._guard.listener = links
        self._hide()

    # ------------------------------------------------------------------- what goes on

    def user(self, frame: zmq.Frame) -> str | None:
        """Return the key of a control frame's sender in hexadecimal digits, ``""`` without keys.

        None if the key is not authorized.
        """
        key = self._guard.user(frame)
        if key is None:
            self._core.reject("a message of a key that is not authorized any more")
            return None
        return key.hex()

    def read_ended(self) -> None:
        """Take note of publishing connections that were accepted or have ended."""
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
        """Note whether a name or prefix is wanted; return whether to subscribe to it at publishers.

        A SUB socket subscribes at all publishers alike. If some of them must not learn what others
        listen to, the hub subscribes to everything instead: publishers send only what their peers
        want anyway.
        """
        (self._names.add if wanted else self._names.discard)(topic)
        return not self._hiding

    def _hide(self) -> None:
        """Subscribe by name, or to everything, as the permissions require now."""
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
        """Let time pass; act if keys or permissions have changed in the key directory."""
        before = self._guard.policy
        policy = self._guard.tick(now)
        if policy is not None and before is not None:
            self._change(before, policy)

    def _change(self, before: Policy, policy: Policy) -> None:
        """Cut off owners of keys whose rights have changed; if still authorized, they come back."""
        changed = before.changed(policy)
        self._core.judge({key.hex() for key in changed})
        self._hide()
        if changed:
            # Publishing connections, too. One that nobody has introduced yet may belong to such a
            # key; if it does not, its node connects and introduces itself again.
            for fd, found in self._up.items():
                if fd not in self._core.by_connection:
                    cut(found)
        self._guard.cut(changed)
        self._links.judge(before, policy)

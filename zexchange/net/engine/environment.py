"""The environment of a node: also who may come in, and where others find it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..config import NodeConfig
from ..peering.binding import Listeners
from ..security.guard import CurveGuard
from ..transport import descriptors
from ..transport.environment import Environment

if TYPE_CHECKING:
    from ..transport.sockets import Socket


class NodeEnvironment(Environment):
    """The real one, with keys and the rendezvous directory."""

    _guard: CurveGuard

    def guard(self, plan: NodeConfig) -> CurveGuard:
        """Return what keeps strangers from the node's TCP sockets.

        Raises:
            InvalidKeys: if the key directory cannot be used.
        """
        self._guard = CurveGuard(plan.keys)
        return self._guard

    def places(
        self,
        plan: NodeConfig,
        node: str,
        router: "Socket",
        xpub: "Socket",
        apart: Callable[[Callable[[], object]], None],
    ) -> Listeners:
        """Bind the two sockets where others can find the node; see `Listeners` for ``apart``."""
        shortage = descriptors.Shortage(self.descriptors_at_most)
        return Listeners(plan, node, router, xpub, self._guard, shortage, apart)

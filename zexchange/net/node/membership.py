"""What can be seen of a node without waiting: the same for threads and for coroutines.

Nothing here waits, and nothing here changes the node.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from ...local.exchange import Exchange
from ...local.registry import Registry
from ...names import check_name
from ...protocol.session.events import Event
from . import report
from .stats import NodeStats, PeerStatus

if TYPE_CHECKING:
    from ..outbound.bridge import Bridge
    from .async_node import AsyncNode
    from .node import Node


class NodeView(ABC):
    """One process's membership in a federation, to look at. Any thread."""

    events: Exchange[Event]
    """What happens to the federation: an exchange of frozen event values. Its tasks
    are called on the data thread."""

    @property
    @abstractmethod
    def node(self) -> "Node":
        """The node whose waits are for threads."""

    @property
    @abstractmethod
    def aio(self) -> "AsyncNode":
        """The same node, whose waits are for coroutines."""

    @property
    def id(self) -> str:
        """The node id, 32 hexadecimal digits: the origin of this node's messages."""
        self.node._running()
        return self.node._me.hex()

    @property
    def name(self) -> str:
        """The name of the federation."""
        return self.node._plan.federation

    @property
    def registry(self) -> Registry:
        """The registry whose exchanges are shared."""
        return self.node._registry

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The control endpoints that this node can be dialled at."""
        return tuple(a.control for a in self.node._running().session.addresses)

    @property
    def peers(self) -> tuple[PeerStatus, ...]:
        """The peers that this node knows now, in the order in which they joined."""
        return report.peers(self.node._running())

    def stats(self) -> NodeStats:
        """Return what was sent, received and lost so far."""
        return report.stats(self.node._running())

    def _bridge(self, name: str) -> "Bridge":
        """Return the subscriber that carries an exchange's messages to this node."""
        return self.node._running().bridges.get(check_name(name))

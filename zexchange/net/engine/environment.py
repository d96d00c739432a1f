"""The environment of a node, which includes the place where other nodes find it."""

from ..peering.binding import Listeners
from ..transport.environment import Environment


class NodeEnvironment(Environment):
    """The real environment, with the rendezvous directory."""

    places: type[Listeners] = Listeners

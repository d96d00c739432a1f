"""The environment of a node: also where others find it."""

from ..peering.binding import Listeners
from ..transport.environment import Environment


class NodeEnvironment(Environment):
    """The real one, with the rendezvous directory."""

    places: type[Listeners] = Listeners

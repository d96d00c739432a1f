"""The notice that messages were lost.

It appears in a stream with ``details=True`` in place of the messages, and as an event of a node.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lost:
    """Messages ``first`` to ``last`` of an origin on an exchange did not arrive, and will not.

    It also stands for a message that arrived and cannot be decoded, or does not fit the type of
    the exchange.

    ``first`` is 0 if it is unknown how many are lost: the origin has come back after more than
    ten minutes, or this node was suspended for more than eleven minutes. Messages that arrived
    before are not affected. Those that were sent after them, up to ``last``, are lost; there may
    be none, and `Node.stats` does not count them.

    Attributes:
        exchange: the name of the exchange.
        origin: the id of the node that sent them, as hexadecimal text.
        first: the number of the first lost message, or 0.
        last: the number of the last lost message.
        reason: the reason in a few words.
    """

    exchange: str
    origin: str
    first: int
    last: int
    reason: str

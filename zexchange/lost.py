"""What a stream with details shows in the place of messages that will not come.

An event of the federation, too; it is told by both halves, and knows neither.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lost:
    """Messages ``first`` to ``last`` of an origin on an exchange did not arrive, and will not.

    ``first`` is 0 where nobody knows how many: the origin was away for more than ten minutes,
    and is back; or this node was stopped for more than eleven. Then what came of it before stays
    as it was, what was sent between that and ``last`` is lost, if anything was, and `Node.stats`
    does not count it.

    Attributes:
        exchange: the name of the exchange.
        origin: the id of the node that sent them, as hexadecimal text.
        first: the number of the first that is lost, or 0.
        last: the number of the last.
        reason: why, in a few words.
    """

    exchange: str
    origin: str
    first: int
    last: int
    reason: str

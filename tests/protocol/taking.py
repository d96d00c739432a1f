"""Taking frames as a receiver does that asks for nothing again."""

from zexchange.protocol.delivery.sequence import Gap, ReceiveState


def take(
    where: ReceiveState, name: str, first: int, count: int, start: int = 0
) -> tuple[int, Gap | None]:
    """Take the numbers of a frame; what is missing before it is lost at once.

    Returns:
        How many of its leading values to skip (all ``count`` of them if nothing is for us), and
        the gap in front of it, if there is one.
    """
    if where.where(name, start) is None:
        where.unwanted += count
        return count, None
    where.start(name, start)
    gap = where.give_up(name, first - 1)
    return where.receive(name, first, count), gap

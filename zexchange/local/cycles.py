"""Exchanges attached to exchanges: a chain, which must never close to a circle.

A message would run round a circle until the stack is full, so that the attach which
would close one is refused. Only the chains are judged here, not other tasks.
"""

from collections.abc import Callable

from ..errors import NotASubscriber
from .process.fork import Lock
from .subscription import Forwarder

chains = Lock()
"""Held where exchanges are attached: two threads together must not close a circle.

It is taken before the lock of any exchange or view.
"""


def refuse_circle(task: Forwarder, key: str, covers: Callable[[Forwarder], bool]) -> None:
    """Raise NotASubscriber if ``task`` leads back to what it is to be attached to.

    Args:
        task: the exchange to be attached.
        key: the name or pattern it is to be attached to.
        covers: tells whether an exchange is, or is covered by, what it is to be attached to.
    """
    found = [task]
    for exchange in found:  # grows while it is walked: what forwards of forwards go to
        if covers(exchange):
            raise NotASubscriber(
                f"exchange {task.name!r} cannot be attached to {key!r}: what is sent on"
                f" {exchange.name!r} would come back to it in a circle"
            )
        for subscription in exchange._audience():
            next_one = subscription.task
            if isinstance(next_one, Forwarder) and not any(next_one is one for one in found):
                found.append(next_one)

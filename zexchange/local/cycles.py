"""Chains of exchanges attached to exchanges, which must never form a circle.

A message would go round a circle until the stack overflows, so an attach that would close a circle
is refused. Only exchanges are examined here, not other tasks.
"""

from collections.abc import Callable

from ..errors import NotASubscriber
from .process.fork import Lock
from .subscription import Forwarder

chains = Lock()
"""Held while exchanges are attached: two threads together must not close a circle.

It is taken before the lock of any exchange or view.
"""


def refuse_circle(task: Forwarder, key: str, covers: Callable[[Forwarder], bool]) -> None:
    """Raise NotASubscriber if messages of ``task`` would come back to it after this attach.

    Args:
        task: the exchange to be attached.
        key: the name or pattern that it is to be attached to.
        covers: returns whether an exchange is the one of that name, or is covered by that pattern.
    """
    found = [task]
    for exchange in found:  # the list grows while it is walked, by the exchanges further on
        if covers(exchange):
            raise NotASubscriber(
                f"exchange {task.name!r} cannot be attached to {key!r}: what is sent on"
                f" {exchange.name!r} would come back to it in a circle"
            )
        for subscription in exchange._audience():
            next_one = subscription.task
            if isinstance(next_one, Forwarder) and not any(next_one is one for one in found):
                found.append(next_one)

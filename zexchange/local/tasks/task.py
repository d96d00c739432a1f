"""The interface of a task, which may be attached to an exchange: anything with ``send``."""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # as in `stream`

    M = TypeVar("M", contravariant=True, default=Any)
else:
    from typing import TypeVar

    M = TypeVar("M", contravariant=True)


class Task(Protocol[M]):
    """Anything with a synchronous ``send(msg)``, whose return value does not matter."""

    def send(self, msg: M, /) -> object:
        """Take one message."""
        ...

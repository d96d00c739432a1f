"""`zexchange top`: what flows in a federation, live."""

from .command import top

__all__ = ["top"]

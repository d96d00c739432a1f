"""`zexchange demo`: five processes share exchanges for ten seconds, and one of them is killed."""

from .command import demo

__all__ = ["demo"]

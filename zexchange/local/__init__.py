"""Exchanges inside one process: no network, no third-party import."""

from .buffered import to_async, to_thread
from .codecs import Codec
from .exchange import Bridge, Exchange, ExchangeStats, Room
from .mailbox import MailboxStats
from .registry import Observer, Registry, default_registry, get_exchange, match, retain
from .stream import Delivery, Stream
from .task import Task
from .tasks import DisplayMessages, to_call, to_queue
from .view import View

__all__ = [
    "Bridge",
    "Codec",
    "Delivery",
    "DisplayMessages",
    "Exchange",
    "ExchangeStats",
    "MailboxStats",
    "Observer",
    "Registry",
    "Room",
    "Stream",
    "Task",
    "View",
    "default_registry",
    "get_exchange",
    "match",
    "retain",
    "to_async",
    "to_call",
    "to_queue",
    "to_thread",
]

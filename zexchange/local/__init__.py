"""Exchanges inside one process: no network, no third-party import."""

from .exchange import Backpressure, Bridge, ExchangeStats
from .registry import (
    Exchange,
    Registry,
    View,
    conflate,
    default_registry,
    get_exchange,
    match,
    retain,
)
from .requests import AsyncExchange, Reply
from .sharing.roster import GroupStats
from .tasks.adapters import DisplayMessages, to_call, to_queue
from .tasks.buffered import to_async, to_thread
from .tasks.mailbox import MailboxStats
from .tasks.stream import Delivery, Stream
from .tasks.task import Task
from .typed.codecs import Codec

__all__ = [
    "AsyncExchange",
    "Backpressure",
    "Bridge",
    "Codec",
    "Delivery",
    "DisplayMessages",
    "Exchange",
    "ExchangeStats",
    "GroupStats",
    "MailboxStats",
    "Registry",
    "Reply",
    "Stream",
    "Task",
    "View",
    "conflate",
    "default_registry",
    "get_exchange",
    "match",
    "retain",
    "to_async",
    "to_call",
    "to_queue",
    "to_thread",
]

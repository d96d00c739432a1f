"""Named exchanges for threads, with remote reach: see `get_exchange` and `federate`."""

from .errors import (
    Closed,
    DecodeError,
    EncodeError,
    ExchangeError,
    InsecureEndpoint,
    InvalidKeys,
    InvalidName,
    MailboxFull,
    NotASubscriber,
    NotAttached,
    NotReady,
    Unreachable,
    WrongType,
)
from .local import (
    Codec,
    Delivery,
    DisplayMessages,
    Exchange,
    Registry,
    Stream,
    View,
    get_exchange,
    match,
    retain,
    to_async,
    to_call,
    to_queue,
    to_thread,
)
from .net.awaiting import AsyncNode
from .net.diagnosis import Diagnosis, Finding
from .net.federation import federate
from .net.node import Node
from .net.status import NodeStats, PeerStatus, Received, Sent
from .protocol.codec import Unknown, register
from .protocol.events import Lost, PeerJoined, PeerLeft, PeerSilent, PeerSlow, Rejected

__version__ = "0.1.0"
__all__ = [
    "AsyncNode",
    "Closed",
    "Codec",
    "DecodeError",
    "Delivery",
    "Diagnosis",
    "DisplayMessages",
    "EncodeError",
    "Exchange",
    "ExchangeError",
    "Finding",
    "InsecureEndpoint",
    "InvalidKeys",
    "InvalidName",
    "Lost",
    "MailboxFull",
    "Node",
    "NodeStats",
    "NotASubscriber",
    "NotAttached",
    "NotReady",
    "PeerJoined",
    "PeerLeft",
    "PeerSilent",
    "PeerSlow",
    "PeerStatus",
    "Received",
    "Registry",
    "Rejected",
    "Sent",
    "Stream",
    "Unknown",
    "Unreachable",
    "View",
    "WrongType",
    "federate",
    "get_exchange",
    "match",
    "register",
    "retain",
    "to_async",
    "to_call",
    "to_queue",
    "to_thread",
]

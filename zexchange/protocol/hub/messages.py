r"""The messages between nodes and hubs themselves (*words*), encoded to frames and decoded.

A frame with a word starts with ``\x06``. Unknown fields are skipped. A field that is missing, too
large or of a wrong type raises `DecodeError`, the only error of this module.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ...errors import DecodeError
from ..security.permissions import Rights
from ..wire.control import LABEL
from ..wire.fields import (
    boolean,
    count,
    each,
    federation,
    items,
    key,
    mapping,
    node_id,
    octets,
    row,
    text,
)
from ..wire.messages import VERSIONS, Label
from ..wire.table import WRITTEN, Field, Kind, MessageTable

WORD = b"\x06"
MAX_PATTERNS = 1000
"""The most names and patterns that a word has for one node; a hub permits no more."""


@dataclass(frozen=True, slots=True)
class Word:
    """A message between a node and a hub, or between hubs."""

    sender: bytes


@dataclass(frozen=True, slots=True)
class Attach(Word):
    """A request to be carried: sent first, once a second after that, and when there is news.

    Attributes:
        hub: whether the sender is a hub; then ``endpoint`` is that of its control socket.
        roster: the last state of the hub's member list that arrived, 0 before the first.
        mark: the last mark that arrived on the data path; of a hub, the digest of its map.
        sent: bytes sent on this link, in all, before this.
        taken: the last ``sent`` of the hub: that many of its bytes have arrived, or are lost.
        secret: the secret that the hub gave; a sender on another connection has to know it.
    """

    federation: str
    label: Label
    versions: tuple[int, int] = VERSIONS
    hub: bool = False
    endpoint: str = ""
    roster: int = 0
    mark: int = 0
    sent: int = 0
    taken: int = 0
    secret: bytes = b""


@dataclass(frozen=True, slots=True)
class Accepted(Word):
    """The answer of a hub that carries the receiver, with changes of its member list.

    Attributes:
        up: the endpoint to which the receiver's publishing socket connects.
        down: the endpoint from which it receives.
        secret: to be sent on the connection to ``up``, as a proof of whose it is.
        base: the state of the member list that ``present`` and ``left`` change; 0 replaces all.
        roster: the state after the change.
        present: the nodes that can be reached, and whether each was silent lately.
        left: the nodes that can no longer be reached, and why; without a reason they may return.
        sent: as in `Attach`.
        taken: as in `Attach`.
        rights: the rights of nodes in ``present``, as far as they concern the receiver. A node that
            is left out may do everything.
    """

    up: str
    down: str
    secret: bytes
    base: int
    roster: int
    present: tuple[tuple[bytes, bool], ...] = ()
    left: tuple[tuple[bytes, str], ...] = ()
    sent: int = 0
    taken: int = 0
    rights: dict[bytes, Rights] = field(default_factory=dict[bytes, Rights])


@dataclass(frozen=True, slots=True)
class Refused(Word):
    """The answer of a hub that does not carry the receiver: a code and a text."""

    reason: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Detach(Word):
    """The sender leaves the hub."""


@dataclass(frozen=True, slots=True)
class HubState(Word):
    """The state of a hub, which it tells all hubs and each passes on; a later one replaces it.

    Attributes:
        number: grows with each state.
        hubs: the hubs that it is linked to.
        nodes: the nodes that it carries, and whether each was silent lately.
        wants: the topics that its nodes subscribe to, each with a number, which grows when a token
            is subscribed to again.
        left: nodes that it carried until lately, and why it no longer does.
        rights: the rights of its nodes; a node that is left out may do everything.
    """

    number: int
    hubs: tuple[bytes, ...] = ()
    nodes: tuple[tuple[bytes, bool], ...] = ()
    wants: dict[bytes, int] = field(default_factory=dict[bytes, int])
    left: tuple[tuple[bytes, str], ...] = ()
    rights: dict[bytes, Rights] = field(default_factory=dict[bytes, Rights])


def told_of(rights: Rights) -> Rights:
    """Return rights as a word can hold them: at most `MAX_PATTERNS` patterns, and no name."""
    publish, subscribe = rights.publish, rights.subscribe
    return Rights("", publish and publish[:MAX_PATTERNS], subscribe and subscribe[:MAX_PATTERNS])


def _patterns(value: Any) -> tuple[str, ...] | None:
    if value is not None and len(items(value)) > MAX_PATTERNS:
        raise DecodeError(f"over {MAX_PATTERNS} names and patterns that a node is permitted")
    return None if value is None else tuple(map(key, value))


def _write_rights(rights: dict[bytes, Rights]) -> dict[bytes, Any]:
    return {node: (r.publish, r.subscribe) for node, r in rights.items()}


_number, _nodes = Field(count, WRITTEN), Field(each(row(node_id, boolean)), WRITTEN)
_left = Field(each(row(node_id, text)), WRITTEN)
_granted = row(_patterns, _patterns, into=partial(Rights, ""))
_rights = Field(mapping(node_id, _granted), WRITTEN, _write_rights)

HUB_MESSAGES: MessageTable[Word] = MessageTable(
    WORD,
    "word",
    {
        "enter": Kind(
            Attach,
            federation=federation,
            label=LABEL,
            versions=row(count, count),
            hub=Field(boolean, WRITTEN),
            endpoint=Field(text, WRITTEN),
            roster=_number,
            mark=_number,
            sent=_number,
            taken=_number,
            secret=Field(octets, WRITTEN),
        ),
        "carried": Kind(
            Accepted,
            up=text,
            down=text,
            secret=node_id,
            base=count,
            roster=count,
            present=_nodes,
            left=_left,
            sent=_number,
            taken=_number,
            rights=_rights,
        ),
        "turnedaway": Kind(Refused, reason=text, text=Field(text, WRITTEN)),
        "leave": Kind(Detach),
        "state": Kind(
            HubState,
            number=count,
            hubs=Field(each(node_id), WRITTEN),
            nodes=_nodes,
            wants=Field(mapping(octets, count), WRITTEN),
            left=_left,
            rights=_rights,
        ),
    },
)
word_frame, read_word = HUB_MESSAGES.frame, HUB_MESSAGES.read

r"""What nodes and hubs say to each other, beside what they pass on: words, to frames and back.

A word starts with ``\x06``. Keys that are not known here are skipped; what is missing, of a
wrong type or too much is a `DecodeError`, and nothing else comes out of here.
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
"""Names and patterns that a word says of one node; a hub permits no more."""


@dataclass(frozen=True, slots=True)
class Word:
    """What is said, and who says it."""

    sender: bytes


@dataclass(frozen=True, slots=True)
class Attach(Word):
    """Carry me: said first, each second from then on, and when there is news.

    Attributes:
        hub: whether a hub says it, which then has ``endpoint`` for its control socket.
        roster: the last state of the hub's roster that arrived, 0 before the first.
        mark: the last mark that arrived on the data path; of a hub, the digest of its map.
        sent: bytes said on this link, in all, before this.
        taken: what the hub's last word gave as ``sent``: as much has arrived, or is lost.
        secret: what the hub gave; who comes by another connection has to know it.
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
    """I carry you: the answer, and what is new on the roster.

    Attributes:
        up: the endpoint that your publishing socket connects to.
        down: the endpoint that you receive from.
        secret: to be shown on the connection to ``up``, which proves whose it is.
        base: the state of the roster that ``present`` and ``left`` change; 0 replaces all.
        roster: the state that this makes.
        present: the nodes that can be reached, and whether nothing was heard of them lately.
        left: those that cannot be reached any more, and why; without a reason they may return.
        sent: as in `Attach`.
        taken: as in `Attach`.
        rights: what those in ``present`` may do, as far as it concerns the reader; who is
            left out may do everything.
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
    """I do not carry you, and why."""

    reason: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Detach(Word):
    """I am carried by you no more."""


@dataclass(frozen=True, slots=True)
class HubState(Word):
    """What a hub tells all hubs of itself, passed on by each: a later one replaces it.

    Attributes:
        number: grows with each.
        hubs: the hubs that it is linked to.
        nodes: those that it carries, and whether nothing was heard of them lately.
        wants: topics that its nodes subscribe to; tokens are numbered anew when they come again.
        left: nodes that it carried until lately, and why it does not.
        rights: what its nodes may do; who is left out may do everything.
    """

    number: int
    hubs: tuple[bytes, ...] = ()
    nodes: tuple[tuple[bytes, bool], ...] = ()
    wants: dict[bytes, int] = field(default_factory=dict[bytes, int])
    left: tuple[tuple[bytes, str], ...] = ()
    rights: dict[bytes, Rights] = field(default_factory=dict[bytes, Rights])


def told_of(rights: Rights) -> Rights:
    """Return rights as a word can tell them of a node; of too many patterns, the first."""
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

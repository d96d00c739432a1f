r"""What nodes and hubs say to each other, beside what they pass on: words, to frames and back.

A word starts with ``\x06``. Keys that are not known here are skipped; what is missing, of a
wrong type or too much is a `DecodeError`, and nothing else comes out of here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import msgpack

from ...errors import DecodeError, InvalidName
from ...kinds import is_dict, is_list
from ...names import check_key
from ..security.permissions import Rights
from ..wire.fields import boolean, count, federation, items, node_id, text, unpack
from ..wire.messages import MAX_LABEL, VERSIONS, Label

WORD = b"\x06"
MAX_PATTERNS = 1000
"""Names and patterns that a word says of one node; a hub permits no more."""


@dataclass(frozen=True, slots=True)
class Attach:
    """Carry me: said first, each second from then on, and when there is news.

    Attributes:
        hub: whether a hub says it, which then has ``endpoint`` for its control socket.
        roster: the last state of the hub's roster that arrived, 0 before the first.
        mark: the last mark that arrived on the data path; of a hub, the digest of its map.
        sent: bytes said on this link, in all, before this.
        taken: what the hub's last word gave as ``sent``: as much has arrived, or is lost.
        secret: what the hub gave; who comes by another connection has to know it.
    """

    sender: bytes
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
class Accepted:
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

    sender: bytes
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
class Refused:
    """I do not carry you, and why."""

    sender: bytes
    reason: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Detach:
    """I am carried by you no more."""

    sender: bytes


@dataclass(frozen=True, slots=True)
class HubState:
    """What a hub tells all hubs of itself, passed on by each: a later one replaces it.

    Attributes:
        number: grows with each.
        hubs: the hubs that it is linked to.
        nodes: those that it carries, and whether nothing was heard of them lately.
        wants: topics that its nodes subscribe to; tokens are numbered anew when they come again.
        left: nodes that it carried until lately, and why it does not.
        rights: what its nodes may do; who is left out may do everything.
    """

    sender: bytes
    number: int
    hubs: tuple[bytes, ...] = ()
    nodes: tuple[tuple[bytes, bool], ...] = ()
    wants: dict[bytes, int] = field(default_factory=dict[bytes, int])
    left: tuple[tuple[bytes, str], ...] = ()
    rights: dict[bytes, Rights] = field(default_factory=dict[bytes, Rights])


Word = Attach | Accepted | Refused | Detach | HubState
KINDS: dict[type[Word], str] = {
    Attach: "enter",
    Accepted: "carried",
    Refused: "turnedaway",
    Detach: "leave",
    HubState: "state",
}
"""What each is called on the wire."""


def told_of(rights: Rights) -> Rights:
    """Return rights as a word can tell them of a node; of too many patterns, the first."""
    publish, subscribe = rights.publish, rights.subscribe
    return Rights("", publish and publish[:MAX_PATTERNS], subscribe and subscribe[:MAX_PATTERNS])


def word_frame(word: Word) -> bytes:
    """Return the frame of a word."""
    body = {f.name: getattr(word, f.name) for f in fields(word) if f.name != "sender"}
    if isinstance(word, Attach):
        label = word.label
        body["label"] = (label.host, label.pid, label.name)
    elif isinstance(word, Accepted | HubState):
        body["rights"] = {node: (r.publish, r.subscribe) for node, r in word.rights.items()}
    frame: bytes = msgpack.packb([KINDS[type(word)], word.sender, body])
    return WORD + frame


def read_word(frame: bytes) -> Word:
    """Return the word in a frame.

    Raises:
        DecodeError: if it is malformed, or of a kind that is not known here.
    """
    parts = unpack(frame[1:])
    if frame[:1] != WORD or not (is_list(parts) and len(parts) >= 3):
        raise DecodeError("a word between node and hub is a list of kind, sender and body")
    kind, sender, body = parts[:3]
    if not isinstance(kind, str) or kind not in _READERS or not is_dict(body):
        raise DecodeError(f"word of unknown kind {str(kind)[:40]!r}")
    try:
        return _READERS[kind](node_id(sender), body)
    except KeyError as error:
        raise DecodeError(f"{kind} without {error}") from None


def _enter(sender: bytes, body: dict[Any, Any]) -> Attach:
    lowest, highest = map(count, _some(body["versions"], 2))
    host, pid, name = _some(body["label"], 3)
    return Attach(
        sender,
        federation(body["federation"]),
        Label(text(host)[:MAX_LABEL], count(pid), text(name)[:MAX_LABEL]),
        (lowest, highest),
        boolean(body.get("hub", False)),
        text(body.get("endpoint", "")),
        count(body.get("roster", 0)),
        count(body.get("mark", 0)),
        count(body.get("sent", 0)),
        count(body.get("taken", 0)),
        _bytes(body.get("secret", b"")),
    )


def _carried(sender: bytes, body: dict[Any, Any]) -> Accepted:
    return Accepted(
        sender,
        text(body["up"]),
        text(body["down"]),
        node_id(body["secret"]),
        count(body["base"]),
        count(body["roster"]),
        _present(body.get("present", [])),
        _left(body.get("left", [])),
        count(body.get("sent", 0)),
        count(body.get("taken", 0)),
        _rights(body.get("rights", {})),
    )


def _state(sender: bytes, body: dict[Any, Any]) -> HubState:
    wants = body.get("wants", {})
    if not is_dict(wants):
        raise DecodeError("what is wanted is a map of topics to numbers")
    return HubState(
        sender,
        count(body["number"]),
        tuple(map(node_id, items(body.get("hubs", [])))),
        _present(body.get("nodes", [])),
        {_bytes(topic): count(number) for topic, number in wants.items()},
        _left(body.get("left", [])),
        _rights(body.get("rights", {})),
    )


def _bytes(value: Any) -> bytes:
    if type(value) is not bytes:
        raise DecodeError("topics and secrets are bytes")
    return value


def _some(value: Any, least: int) -> list[Any]:
    if len(items(value)) < least:
        raise DecodeError(f"{least} items expected")
    some: list[Any] = value[:least]
    return some


def _present(value: Any) -> tuple[tuple[bytes, bool], ...]:
    pairs = (_some(item, 2) for item in items(value))
    return tuple((node_id(node), boolean(quiet)) for node, quiet in pairs)


def _left(value: Any) -> tuple[tuple[bytes, str], ...]:
    pairs = (_some(item, 2) for item in items(value))
    return tuple((node_id(node), text(reason)) for node, reason in pairs)


def _rights(value: Any) -> dict[bytes, Rights]:
    if not is_dict(value):
        raise DecodeError("what nodes may do is a map of ids")
    found: dict[bytes, Rights] = {}
    for node, granted in value.items():
        publish, subscribe = _some(granted, 2)
        found[node_id(node)] = Rights("", _patterns(publish), _patterns(subscribe))
    return found


def _patterns(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if len(items(value)) > MAX_PATTERNS:
        raise DecodeError(f"over {MAX_PATTERNS} names and patterns that a node is permitted")
    try:
        return tuple(check_key(text(item)) for item in value)
    except InvalidName as error:
        raise DecodeError(str(error)) from None


_READERS: dict[str, Callable[[bytes, dict[Any, Any]], Word]] = {
    "enter": _enter,
    "carried": _carried,
    "turnedaway": lambda s, b: Refused(s, text(b["reason"]), text(b.get("text", ""))),
    "leave": lambda s, b: Detach(s),
    "state": _state,
}

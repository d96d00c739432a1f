"""Control messages to frames and back: the fields in the body of each kind."""

from typing import Any

from ...errors import DecodeError, InvalidName
from ...groups.queue import MOST
from ...names import check_text, is_pattern
from . import messages
from .data import CONTROL
from .fields import (
    boolean,
    count,
    each,
    federation,
    items,
    key,
    mapping,
    node_id,
    numbers,
    octets,
    public_key,
    row,
    seconds,
    text,
    texts,
    up_to,
)
from .limits import MAX_COUNTED, MAX_FIGURES, MAX_KEYS, MAX_MEMBERS, MAX_PATTERNS, MAX_RESPONDERS
from .messages import MAX_ENDPOINT, MAX_LABEL, Address, Control, ExchangeCount, GroupMember, Label
from .table import WRITTEN, Field, Kind, MessageTable

MAX_ADDRESSES = 16
"""Addresses of one node that are read; the best come first."""


def _label(host: str, pid: int, name: str) -> Label:
    return Label(host[:MAX_LABEL], pid, name[:MAX_LABEL])


def _addresses(value: Any) -> tuple[Address, ...]:
    pairs = [texts(pair)[:2] for pair in items(value)[:MAX_ADDRESSES]]
    if any(len(pair) < 2 or max(map(len, pair)) > MAX_ENDPOINT for pair in pairs):
        raise DecodeError(f"an address is two endpoints of up to {MAX_ENDPOINT} characters")
    return tuple(Address(*pair) for pair in pairs)


def _keys(value: Any) -> tuple[str, ...]:
    keys = tuple(map(key, items(value)))
    if len(keys) > MAX_KEYS or sum(map(is_pattern, keys)) > MAX_PATTERNS:
        raise DecodeError(f"an interest in more than {MAX_KEYS} keys or {MAX_PATTERNS} patterns")
    return keys


def _responders(value: Any) -> tuple[str, ...]:
    names = tuple(map(key, items(value)))
    if len(names) > MAX_RESPONDERS or any(map(is_pattern, names)):
        raise DecodeError(f"a node answers on up to {MAX_RESPONDERS} exchanges, told by name")
    return names


def _group_member(name: str, group: str, number: int, ahead: int) -> GroupMember:
    return GroupMember(key(name), check_group_text(group), number, min(ahead, MOST))


def check_group_text(group: str) -> str:
    """Return the name of a group if it is one.

    Raises:
        DecodeError: it is not.
    """
    try:
        return check_text(group, "a group")
    except InvalidName as error:
        raise DecodeError(str(error)) from None


_member = row(text, text, count, count, into=_group_member)
_members = up_to(MAX_MEMBERS, "members of groups", each(_member))


_NO_COUNTS = ExchangeCount("")
_COUNTS = text, count, count, count, count, count, count, octets


def _exchange_count(value: Any) -> ExchangeCount:
    """Return the counts of an exchange; those that are left out at the end are 0."""
    if not items(value):
        raise DecodeError("counts without the name of an exchange")
    read_all = [read(item) for read, item in zip(_COUNTS, value, strict=False)]
    counts = ExchangeCount._make([*read_all, *_NO_COUNTS[len(read_all) :]])
    key(counts.name)
    if counts.slowest:
        node_id(counts.slowest)
    return counts


def _written_counts(counts: tuple[ExchangeCount, ...]) -> list[list[Any]]:
    written: list[list[Any]] = []
    for one in counts:
        row = list(one)
        while not row[-1]:  # the name is not empty
            row.pop()
        written.append(row)
    return written


_exchange_counts = up_to(MAX_COUNTED, "exchanges", each(_exchange_count))
_slow_peers = up_to(MAX_COUNTED, "slow peers", each(node_id))
_figures = up_to(MAX_FIGURES, "figures", numbers)


def _public_keys(value: Any) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(mapping(node_id, public_key)(value).items())


def _versions(value: Any) -> tuple[int, int]:
    if len(items(value)) != 2:
        raise DecodeError("versions are the lowest and the highest")
    return count(value[0]), count(value[1])


def _label_row(label: Label) -> tuple[str, int, str]:
    return label.host, label.pid, label.name


LABEL = Field(row(text, count, text, into=_label), write=_label_row)
_number, _to = Field(count, 0), Field(node_id, b"")

CONTROL_MESSAGES: MessageTable[Control] = MessageTable(
    CONTROL,
    "control message",
    {
        "hello": Kind(
            messages.Hello,
            versions=_versions,
            features=Field(texts, WRITTEN),
            federation=federation,
            label=LABEL,
            addresses=_addresses,
            epoch=count,
            interest=_keys,
            started=Field(seconds, 0.0),
            acknowledge=Field(row(count, count), (0, 0)),
            key=Field(public_key, b""),
            registry=Field(node_id, b""),
            exchanges=Field(_keys, ()),
            responders=Field(row(count, _responders), (0, ())),
            members=Field(row(count, _members), (0, ())),
        ),
        "welcome": Kind(
            messages.Welcome,
            around="hello",
            known=Field(each(row(node_id, _addresses)), WRITTEN),
            keys=Field(_public_keys, (), dict),
        ),
        "refuse": Kind(messages.Refuse, reason=text, text=Field(text, WRITTEN)),
        "interest": Kind(
            messages.Interest,
            epoch=count,
            base=count,
            confirmed=count,
            added=Field(_keys, WRITTEN),
            removed=Field(_keys, WRITTEN),
            to=_to,
        ),
        "ping": Kind(
            messages.Ping,
            epoch=count,
            announced=count,
            confirmed=_number,
            named=_number,
            responders=_number,
            members=_number,
            to=_to,
        ),
        "responders": Kind(
            messages.Responders,
            number=count,
            base=count,
            added=Field(_responders, WRITTEN),
            removed=Field(_responders, WRITTEN),
            to=_to,
        ),
        "members": Kind(
            messages.Members,
            number=count,
            base=count,
            added=Field(_members, WRITTEN),
            removed=Field(_members, WRITTEN),
            to=_to,
        ),
        "pong": Kind(
            messages.Pong,
            time=Field(seconds, 0.0),
            held=Field(seconds, 0.0),
            room=Field(count, None),
        ),
        "resync": Kind(messages.Resync),
        "stranger": Kind(messages.Stranger),
        "ack": Kind(messages.Ack, positions=numbers, to=_to),
        "slow": Kind(messages.Slow, slow=boolean, to=_to),
        "replay": Kind(messages.Replay, name=text, first=count, last=count, request=_number),
        "replayed": Kind(messages.Replayed, name=text, first=count, last=count, request=_number),
        "recall": Kind(messages.Recall, request=count, key=text),
        "recalled": Kind(messages.Recalled, request=count, ranges=mapping(text, row(count, count))),
        "count": Kind(
            messages.Count,
            request=count,
            key=key,
            began=_number,
            look=_number,
            after=Field(text, ""),
        ),
        "counted": Kind(
            messages.Counted,
            request=count,
            began=count,
            look=count,
            at=seconds,
            exchanges=Field(_exchange_counts, WRITTEN, _written_counts),
            more=Field(text, ""),
            node=Field(_figures, WRITTEN),
            slow=Field(_slow_peers, ()),
        ),
        "named": Kind(messages.Named, base=count, names=texts, to=_to),
        "forgot": Kind(messages.Forgot, number=count, to=_to),
        "bye": Kind(messages.Bye, heads=Field(numbers, WRITTEN)),
    },
)
control_frame, read_control = CONTROL_MESSAGES.frame, CONTROL_MESSAGES.read

"""Messages between a hub and its nodes, and the heads that a hub looks at.

Words (`protocol.hub.messages`), envelopes, introductions, marks and the origins of data frames
(`protocol.wire.envelopes`). A hub passes on by a head that it does not decode: it has to see there
what the node sees.
"""

from collections.abc import Iterator

from zexchange.errors import DecodeError
from zexchange.protocol.hub.access import name_in
from zexchange.protocol.hub.messages import (
    MAX_PATTERNS,
    Accepted,
    Attach,
    Detach,
    HubState,
    Refused,
    Word,
    read_word,
    word_frame,
)
from zexchange.protocol.security.permissions import Rights
from zexchange.protocol.wire import data as wire
from zexchange.protocol.wire import envelopes as relay
from zexchange.protocol.wire.messages import Label

from ..bounds import require
from ..seeds import bombs, vectors

MAX_LEN = 500
HUB, A, B = b"h" * 16, b"a" * 16, b"b" * 16
TOLD = {A: Rights("", ("p", "p.*"), None), B: Rights("", (), ("s.**",))}


def words() -> Iterator[Word]:
    """Yield words of every kind."""
    yield Attach(A, "fed", Label("host", 1, "name"))
    yield Attach(HUB, "fed", Label("h", 1), (1, 1), True, "tcp://h:1", 2, 3, 4, 5, b"s" * 16)
    yield Accepted(HUB, "tcp://h:3", "tcp://h:2", b"s" * 16, 0, 1)
    yield Accepted(
        *(HUB, "tcp://h:3", "tcp://h:2", b"s" * 16, 4, 6),
        *(((A, False),), ((B, "gone"),), 7, 8, TOLD),
    )
    yield Refused(HUB, "full", "why")
    yield Detach(A)
    yield HubState(HUB, 3, (b"2" * 16,), ((A, True),), {wire.topic("x"): 1}, ((B, "bye"),), TOLD)


def seeds() -> Iterator[bytes]:
    """Yield words, envelopes and heads, and bombs where bodies and rights stand."""
    yield from map(word_frame, words())
    yield relay.bundle([relay.Envelope(A, B, 16, b"\x02x"), relay.Envelope(B, A, 0, b"")])
    yield relay.relay_head(A, B)
    yield relay.hub_source_head(HUB, 3)
    yield relay.mark_frame(A, 5)
    yield relay.introduction_topic(HUB) + A + b"s" * 16
    yield from (frame for frame, _ in vectors("data", "ready", "token"))
    rights, entry = word_frame(Accepted(HUB, "u", "d", A, 0, 1)), b"\x92\xc4\x10" + A + b"\xc2"
    for wrong in (b"\x91" + entry[1:-1], entry[:-1] + b"\x01", b"\xc0", b"\x92\x01\xc2", b"\x80"):
        yield rights.replace(b"\xa7present\x90", b"\xa7present\x91" + wrong)
        yield rights.replace(b"\xa6rights\x80", b"\xa6rights\x81" + entry[1:-1] + wrong)
    for bomb in bombs():
        yield b"\x06" + bomb
        yield rights.replace(b"\xa6rights\x80", b"\xa6rights" + bomb)


def execute(data: bytes) -> None:
    """Read it as whatever it may be; the result is written and read again as the same."""
    _word(data)
    _envelope(data)
    _head(data)


def _word(data: bytes) -> None:
    try:
        word = read_word(data)
    except DecodeError:
        return
    require(len(word.sender) == 16, word)
    require(read_word(word_frame(word)) == word, word)
    if isinstance(word, Accepted | HubState):
        for rights in word.rights.values():
            most = max(len(rights.publish or ()), len(rights.subscribe or ()))
            require(most <= MAX_PATTERNS and not rights.hub, rights)


def _envelope(data: bytes) -> None:
    if data[:1] == relay.BUNDLE:
        try:
            require(relay.bundle(relay.unbundle(data)) == data, data)
        except DecodeError:
            pass
    elif data[:1] == relay.RELAY:
        try:
            require(relay.relay_head(*relay.read_relay(data)) == data, data)
        except DecodeError:
            pass
    elif data[:1] == relay.TRUNK:
        try:
            require(relay.hub_source_head(*relay.read_hub_source(data)) == data, data)
        except DecodeError:
            pass
    elif data[:1] == relay.MARK:
        try:
            require(relay.mark_frame(data[1:17], relay.read_mark(data)) == data, data)
        except DecodeError:
            pass


def _head(data: bytes) -> None:
    """Look at a head as a hub does, and as the node that gets the frame."""
    origin = relay.origin_of(data)
    require(len(origin) <= 16, origin)
    try:
        passing = relay.look(data[: relay.HEAD_BYTES])
    except DecodeError:
        passing = None
    else:
        require(passing.origin == origin and data.startswith(passing.topic), passing)
        name_in(passing.topic)
    seen = _as_a_node(data)
    require(seen is None or seen == passing, (seen, passing))


def _as_a_node(data: bytes) -> relay.FrameInfo | None:
    try:
        if data[:1] == wire.READY:
            ready = wire.read_ready(data)
            return relay.FrameInfo(
                wire.ready_topic(ready.receiver, ready.epoch), ready.origin, 0, 0
            )
        batch = wire.read_data(data)
    except DecodeError:
        return None
    name = name_in(wire.topic(batch.name))
    require(name == batch.name, name)
    return relay.FrameInfo(wire.topic(batch.name), batch.origin, batch.first, batch.count)

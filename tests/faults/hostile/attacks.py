"""What a hostile peer does: each kind a generator, a step of which is a burst without a wait.

A step yields how much of it was done. `STRANGER` are the kinds that anybody can do who reaches
the ports, `PEER` those that take a key, or a federation's name, and a place among its peers.
"""

import itertools
import struct
from collections.abc import Callable, Iterator

import msgpack
import zmq

from zexchange.protocol.wire import messages as v
from zexchange.protocol.wire.control import control_frame
from zexchange.protocol.wire.data import data_head, ready_frame, ready_topic, topic

from .foe import Foe, shove, someone

Attack = Callable[[Foe], Iterator[int]]
MB = 1 << 20
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00"
NULL = GREETING + b"NULL".ljust(20, b"\0") + bytes(32)
CURVE = GREETING + b"CURVE".ljust(20, b"\0") + bytes(32)
JUNK = (
    b"",
    b"\xff",
    b"GET / HTTP/1.1\r\n\r\n",
    GREETING,
    NULL,
    NULL + b"\x04\x05\x05READY" + bytes(200),
    NULL + b"\x06" + (2**63).to_bytes(8, "big"),
    NULL + b"\x02" + (2**62).to_bytes(8, "big") + b"x" * 1000,
    CURVE,
    CURVE + b"\x04\xc8\x05HELLO" + bytes(194),
    CURVE + b"\x04\x06\x05HELLO",
    bytes(64),
)
HELD = 150
"""Connections that are held open at a time."""
VALUE = 64 << 10
"""Bytes of a value that a peer may rightly publish: larger ones take longer, as good ones do."""


def bombs(size: int) -> list[bytes]:
    """Return MessagePack that looks like more than it is, or is dense, of up to so many bytes."""
    return [
        b"\x91" * 1023 + b"\xc0",
        b"\x81\xc0" * 1015 + b"\xc0",
        b"\x91" * size,
        b"\xdd\x00\x03\xff\xff" * (size // 5),
        b"\xdd" + size.to_bytes(4, "big") + b"\x80" * size,
        b"\xdd" + (size // 3).to_bytes(4, "big") + b"\x81\xc0\xc0" * (size // 3),
        b"\xdb\xff\xff\xff\xff",
        b"\xdd" + (size // 9).to_bytes(4, "big") + (b"\xcf" + b"\xff" * 8) * (size // 9),
    ]


def pattern(foe: Foe) -> str:
    """Return a pattern of 255 bytes that was never used."""
    start = foe.chance.randbytes(16).hex()
    return (f"{start}." + "*." * 110).ljust(255, "x")


# ------------------------------------------------------------------ bare connections


def come_and_go(foe: Foe) -> Iterator[int]:
    """Connections that are opened, say half a word and go."""
    held = []
    try:
        for n in itertools.count():
            plug = foe.plug((foe.target.control, foe.target.data)[n % 2])
            if plug is not None:
                held.append((plug, JUNK[n % len(JUNK)]))
            if len(held) >= 20:
                for one, words in held:
                    _say(one, words)
                    one.close()
                held.clear()
                yield 20
    finally:
        for one, _ in held:
            one.close()


def _say(plug: object, words: bytes) -> None:
    try:
        plug.send(words)  # type: ignore[attr-defined]
    except OSError:
        return


def half_open(foe: Foe) -> Iterator[int]:
    """Handshakes that are begun and not gone on with: many are held, the oldest make room."""
    held: list[object] = []
    try:
        for n in itertools.count():
            plug = foe.plug((foe.target.control, foe.target.data)[n % 2])
            if plug is not None:
                held.append(plug)
                _say(held[n // 2 % len(held)], JUNK[n % len(JUNK)])
            if len(held) > HELD:
                held.pop(0).close()  # type: ignore[attr-defined]
            if n % 20 == 19:
                yield 20
    finally:
        for one in held:
            one.close()  # type: ignore[attr-defined]


def handshakes(foe: Foe) -> Iterator[int]:
    """Whole handshakes, one after the other; with keys, under a fresh one each."""
    hello = control_frame(foe.hello(someone(), federation="f" * 255))
    while True:
        with foe.links(8, anonymous=True) as links:
            for link in links:
                shove(link, hello)
            yield 8


# --------------------------------------------------------------- strangers on control


def malformed(foe: Foe) -> Iterator[int]:
    """Control frames that are none, or ask for gigabytes."""
    ping = control_frame(v.Ping(foe.me, 1, 1))
    frames = [b"", b"\x00", b"\x02", b"\x02\xc1", b"\x01x\0" + bytes(50)]
    frames += [b"\x02" + msgpack.packb(x) for x in (1, [], ["hello", b"x", {}], [1, foe.me, {}])]
    for bomb in bombs(MB):
        frames.append(b"\x02" + bomb)
        frames.append(ping.replace(b"\xa5epoch\x01", b"\xa5epoch" + bomb))
        frames.append(b"\x02" + msgpack.packb(["hello", foe.me])[:-1] + bomb)
    while True:
        with foe.links(4) as links:  # afresh, so that what is allowed is whole
            for frame in frames:
                yield sum(shove(link, frame) for link in links)


def wrong_hellos(foe: Foe) -> Iterator[int]:
    """Hellos that are refused, with the longest name of a federation; the answers are not read."""
    with foe.links(20) as links:
        while True:
            frames = [
                control_frame(foe.hello(federation="f" * 255, versions=(1, 1))),
                control_frame(foe.hello(someone(), versions=(7, 9))),
                control_frame(v.Ping(someone(), 1, 1)),
                control_frame(v.Bye(someone(), {})),
            ]
            yield sum(shove(link, *frames) for link in links)


def patterns_afresh(foe: Foe) -> Iterator[int]:
    """Hellos that want a thousand patterns of 255 bytes which nobody has ever seen."""
    with foe.links(2) as links:
        while True:
            wanted = tuple(pattern(foe) for _ in range(990))
            for link in links:
                yield shove(link, control_frame(foe.hello(interest=wanted)))


def large_frames(foe: Foe) -> Iterator[int]:
    """Control frames as large as they may be: of names, or of nothing."""
    names = tuple(f"{n:015}" for n in range(190_000))
    frames = [
        control_frame(foe.hello(interest=names)),
        b"\x02" + bytes(4 * MB - 1),
        control_frame(v.Ack(foe.me, dict.fromkeys(names[:150000], 1))),
    ]
    while True:
        with foe.links(6) as links:
            for _ in range(20):
                yield sum(shove(link, *frames) for link in links)


def deaf(foe: Foe) -> Iterator[int]:
    """Connections that ask for whatever is answered, and read nothing."""
    asked = [
        control_frame(foe.hello(foe.new_id())),
        control_frame(v.Ping(foe.me, 1, 1)),
        control_frame(v.Resync(foe.me)),
        control_frame(v.Replay(foe.me, "public.kept", 1, 2**63)),
        control_frame(v.Recall(foe.me, 1, "public.**")),
    ]
    with foe.links(40) as links:
        while True:
            yield sum(shove(link, *asked) for link in links)


# ---------------------------------------------------------------------- the data port


def subscriptions(foe: Foe) -> Iterator[int]:
    """Subscriptions to whatever there may be, without end."""
    with foe.subscribers(2) as ones:
        while True:
            for one in ones:
                topics = [b"\x01" + foe.chance.randbytes(250) for _ in range(100)]
                yield shove(one, *topics)


def permitted_subscriptions(foe: Foe) -> Iterator[int]:
    """Subscriptions to names that may be had, come and gone without end."""
    with foe.subscribers(2) as ones:
        for n in itertools.count():
            name = topic("public." + foe.chance.randbytes(100).hex())
            yield sum(shove(one, b"\x01" + name, *[b"\x00" + name] * (n % 2)) for one in ones)


def wrong_port(foe: Foe) -> Iterator[int]:
    """What belongs elsewhere, at the data port: messages, hellos, frames that are too long."""
    frames = [
        b"",
        b"\x05",
        control_frame(foe.hello()),
        data_head(topic("evil.x"), foe.me, 1, 1, 1.0) + b"\xc0",
        b"\x02" + foe.chance.randbytes(900),
        b"\x01" + bytes(900),
        b"\x01" + bytes(1 << 16),
    ]
    while True:
        with foe.subscribers(4) as ones:
            for _ in range(20):
                yield sum(shove(one, *frames) for one in ones)


def wrong_socket(foe: Foe) -> Iterator[int]:
    """Sockets of other kinds than are expected, at both ports."""
    kinds = (zmq.XPUB, zmq.ROUTER, zmq.PAIR, zmq.PUSH, zmq.SUB, zmq.REQ)
    for n in itertools.count():
        endpoint = (foe.target.control, foe.target.data)[n % 2]
        with foe.sockets(4, kinds[n % len(kinds)], endpoint):
            yield 4


def tokens(foe: Foe) -> Iterator[int]:
    """Tokens of huge epochs, of good peers' ids and of nobody's."""
    with foe.subscribers(2) as ones:
        while True:
            frames = []
            for node in (*foe.target.good, someone(), foe.me):
                for epoch in (0, 2**63, 2**64 - 1, foe.chance.randrange(100)):
                    frames.append(b"\x01" + ready_topic(node, epoch))
                    frames.append(b"\x00" + ready_topic(node, epoch))
            yield sum(shove(one, *frames) for one in ones)


# ------------------------------------------------------------------------ as a peer


def newcomers(foe: Foe) -> Iterator[int]:
    """Nodes that are made up, by the thousand."""
    with foe.links(10) as links:
        while True:
            yield sum(shove(link, control_frame(foe.hello(foe.new_id()))) for link in links)


def interests(foe: Foe) -> Iterator[int]:
    """Changes of an interest without end: patterns afresh, names, both gone again."""
    node = foe.node
    while True:
        foe.node.epoch += 1
        wanted = [pattern(foe) for _ in range(300)] + [foe.name() for _ in range(1000)]
        whole = v.Interest(node.me, node.epoch, 0, 1, tuple(wanted))
        fewer = v.Interest(node.me, node.epoch + 1, node.epoch, 1, (), tuple(wanted))
        yield foe.node.say(whole, fewer, v.Ping(node.me, node.epoch + 7, 1))
        node.epoch += 1


def asking(foe: Foe) -> Iterator[int]:
    """Requests for whatever is told, kept or sent again."""
    for n in itertools.count(1):
        me = foe.node.me
        yield foe.node.say(
            v.Replay(me, "public.kept", 1, 2**64 - 1),
            v.Replay(me, "public.kept", 1, 100, n),
            v.Recall(me, n, "public.kept"),
            v.Recall(me, n, "public.**"),
            v.Count(me, n, "**", n, n),
            v.Resync(me),
            foe.node.hello(),
        )


def bogus_answers(foe: Foe) -> Iterator[int]:
    """Answers that nobody asked for, and heads, positions and names that are made up."""
    for n in itertools.count():
        node = foe.node
        made_up = {foe.name(): n for _ in range(1000)}
        yield node.say(v.Ack(node.me, {**made_up, "public.kept": 2**64 - 1}))
        yield node.say(v.Named(node.me, n % 3, tuple(made_up)), v.Forgot(node.me, n))
        yield node.say(v.Slow(node.me, n % 2 == 0))
        answers: list[v.Control] = [
            v.Replayed(node.me, "evil.1", 1, 2**64 - 1),
            v.Replayed(node.me, foe.name(), 2**63, 1, n),
            v.Recalled(node.me, n, dict.fromkeys(made_up, (1, 2**64 - 1))),
            v.Counted(node.me, n, n, n, 1.0, tuple(map(v.ExchangeCount, made_up)), foe.name()),
            v.Refuse(node.me, "full", "x" * 10_000),
            v.Pong(node.me, 1e300, 1e300, 2**63),
        ]
        yield node.answer(*map(control_frame, answers))


def gossip(foe: Foe) -> Iterator[int]:
    """Welcomes that tell of hundreds of nodes each, at addresses where nobody is."""
    while True:
        node = foe.node
        known = [
            (
                foe.new_id(),
                (
                    v.Address(f"tcp://127.0.0.1:{foe.chance.randrange(1, 1024)}", "tcp://h:1"),
                    v.Address("ipc:///tmp/" + foe.name(), "ipc:///tmp/y"),
                    v.Address(f"tcp://{foe.name()}.invalid:1", "tcp://h:1"),
                ),
            )
            for _ in range(300)
        ]
        keys = tuple((peer, foe.target.public) for peer, _ in known) if foe.target.public else ()
        yield node.answer(control_frame(v.Welcome(node.me, node.hello(), tuple(known), keys)))


def moving(foe: Foe) -> Iterator[int]:
    """A peer that says to be elsewhere in each hello, and to have begun anew."""
    for n in itertools.count():
        node = foe.node
        where = tuple(v.Address(f"tcp://127.0.0.1:{p}", "tcp://127.0.0.1:2") for p in range(1, 17))
        node.epoch += n % 2
        label = v.Label("\x1b[2J" * 60, 1, "\u202e" * 255)
        yield node.say(foe.hello(node.me, addresses=where, epoch=node.epoch, label=label))


def farewells(foe: Foe) -> Iterator[int]:
    """Nodes that come and say goodbye, with heads that are made up."""
    with foe.links(2) as links:
        while True:
            me = foe.new_id()
            heads = {foe.name(): 2**64 - 1 for _ in range(300)}
            frames = [control_frame(foe.hello(me)), control_frame(v.Bye(me, heads))]
            yield sum(shove(link, *frames) for link in links)


# -------------------------------------------------------------------- on the data path


def _ext(code: int, payload: bytes) -> bytes:
    return b"\xc9" + len(payload).to_bytes(4, "big") + struct.pack("b", code) + payload


def values(foe: Foe) -> list[bytes]:
    """Return values that cost more than they look."""
    pack = msgpack.packb
    # Multiples of the modulus of Python's hashes of integers, as extension 5 and plain.
    modulus = 2**61 - 1
    collide = [n * modulus for n in range(1, 8)]
    big = [_ext(5, (n * modulus).to_bytes(10, "big")) for n in range(8, 3000)]
    deep = b"\xc0"
    for _ in range(40):
        deep = _ext(2, b"\x91" + deep)
    zone = [2024, 1, 1, 0, 0, 0, 0, 0, 0, "N"]
    items = b"".join(_ext(11, pack([*zone, f"Made/Up{n}"])) for n in range(500))
    fields = [f"f{n}" for n in range(500)]
    structure = {
        "names": fields,
        "formats": ["<f8"] * 500,
        "offsets": [0] * 500,
        "itemsize": 8,
        "aligned": False,
    }
    return [
        _ext(13, pack(["<f8", [2**40, 2**40, 0], 0, b""])),
        _ext(13, pack(["<f8", [2**63] * 1000, 0, b""])),
        _ext(13, pack(["|V1", [0] + [2**63] * 50_000, 0, b""])),
        _ext(13, pack([["<f8", [10**6] * 10], [2**40], 0, b""])),
        _ext(13, pack([structure, [0], 0, b""])),
        _ext(3, b"\xdc" + len(big).to_bytes(2, "big") + b"".join(big)),
        _ext(3, pack(collide)),
        b"\xde" + len(big).to_bytes(2, "big") + b"".join(n + b"\xc0" for n in big),
        deep,
        b"\x91" * 1023 + b"\xc0",
        _ext(7, b"1" * 50_000 + b"E+999999"),
        _ext(7, b"9" * VALUE),
        _ext(5, b"\x7f" + b"\xff" * VALUE),
        b"\xdc" + (500).to_bytes(2, "big") + items,
        *bombs(VALUE),
    ]


def costly_values(foe: Foe) -> Iterator[int]:
    """Messages that may be published, of values that cost more than they look."""
    all_of_them = values(foe)
    while True:
        for value in all_of_them:
            node = foe.node
            head = data_head(topic(foe.name()), node.me, 1, 1, 1.0)
            yield node.publish(head + value, head + value[: foe.chance.randrange(len(value))])


def floods(foe: Foe) -> Iterator[int]:
    """Small messages that may be published, at full speed, on names afresh and on old ones."""
    many = b"\xc0" * 1000
    for n in itertools.count():
        node = foe.node
        old = data_head(topic("evil.old"), node.me, n * 1000 + 1, 1000, 1.0) + many
        fresh = [data_head(topic(foe.name()), node.me, 1, 1, 1.0) + b"\xc0" for _ in range(50)]
        yield node.publish(old, *fresh)


def forbidden(foe: Foe) -> Iterator[int]:
    """Messages that may not be published, and some under another's id."""
    while True:
        node = foe.node
        names = ["there.left", "back.left", "$x", foe.chance.randbytes(20).hex()]
        ids = (node.me, *foe.target.good)
        yield node.publish(
            *[data_head(topic(name), me, 1, 1, 1.0) + b"\xc0" for name in names for me in ids]
        )


def gaps(foe: Foe) -> Iterator[int]:
    """Messages whose numbers run ahead: they are parked, and what is missing is asked for."""
    for n in itertools.count(2):
        node, body = foe.node, bytes(50_000)
        ahead = [
            data_head(topic(f"evil.gap{n % 7}"), node.me, n * 1000, 50_000, 1.0) + body,
            data_head(topic(foe.name()), node.me, 2**63, 1, 1.0) + b"\xc0",
            data_head(topic(foe.name()), node.me, 2**62, 0, 1.0),
        ]
        yield node.publish(*ahead)


def wrong_frames(foe: Foe) -> Iterator[int]:
    """Frames that are none, or have others behind them than they say."""
    good = topic("evil.x")
    while True:
        node = foe.node
        attached = data_head(good, node.me, 2, 1, 1.0, attached=1000)
        yield node.publish(
            good + bytes(39),
            good + b"\x27\x09" + bytes(37),
            good + foe.chance.randbytes(60),
            data_head(good, node.me, 1, 2**32 - 1, 1.0) + b"\xc0" * 100,
            [attached + _ext(15, bytes(8)), *[b"x" * 100] * 999, b""],
            [attached + _ext(15, bytes(8)), *[b"x" * 100] * 1000],
            [attached, *[b"x"] * 2000],
        )


def readies(foe: Foe) -> Iterator[int]:
    """Proofs that are none: heads, promises and starts by the thousand, in parts without end."""
    for n in itertools.count(1):
        node = foe.node
        if not node.tokens:
            yield 0
            continue
        token = node.tokens[-1]
        heads = {f"evil.{foe.chance.randrange(10**9)}": 2**63 for _ in range(2000)}
        promised = (v.Promise(1, heads), v.Promise(2, {}))
        yield node.publish(
            ready_frame(v.Ready(*token, node.me, heads, promised, starts=heads)),
            ready_frame(v.Ready(*token, node.me, heads, part=n % 200 + 1, parts=200)),
            ready_frame(v.Ready(*token, node.me, {}, forget=heads, number=n)),
            ready_frame(v.Ready(token[0], n, node.me, {}))[:-3],
            ready_frame(v.Ready(token[0], 2**63, someone(), {})),
        )


def unasked_replays(foe: Foe) -> Iterator[int]:
    """Data frames on the control link that nobody asked for."""
    body = bytes(100_000)
    for n in itertools.count(1):
        node = foe.node
        yield node.answer(
            data_head(topic("evil.old"), node.me, n, 100_000, 1.0) + body,
            data_head(topic(foe.name()), node.me, 2**60, 1, 1.0) + b"\xc0",
            data_head(topic("there.left"), node.me, n, 1, 1.0) + b"\xc0",
        )


STRANGER: tuple[Attack, ...] = (
    come_and_go,
    half_open,
    handshakes,
    malformed,
    wrong_hellos,
    patterns_afresh,
    large_frames,
    deaf,
    subscriptions,
    wrong_port,
    wrong_socket,
    tokens,
)
PEER: tuple[Attack, ...] = (
    permitted_subscriptions,
    newcomers,
    interests,
    asking,
    bogus_answers,
    gossip,
    moving,
    farewells,
    costly_values,
    floods,
    forbidden,
    gaps,
    wrong_frames,
    readies,
    unasked_replays,
)
KINDS = {attack.__name__.replace("_", " "): attack for attack in (*STRANGER, *PEER)}

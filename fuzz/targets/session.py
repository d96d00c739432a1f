"""The whole node as one machine, fed with messages of strangers and peers (`protocol.session`).

Structure-aware: the bytes are a script. Most steps are well-formed messages of a few nodes, so that
they become peers and the deeper states are reached; some are raw frames. After each step the
session's effects must be writable, and its tables within their limits.
"""

from collections.abc import Callable, Iterator

from zexchange.errors import DecodeError
from zexchange.protocol.delivery import departed
from zexchange.protocol.session import effects as e
from zexchange.protocol.session import peers as membership
from zexchange.protocol.session import readiness as proving
from zexchange.protocol.session.session import Session
from zexchange.protocol.session.state import MAX_KINDS
from zexchange.protocol.wire import messages as v
from zexchange.protocol.wire.control import control_frame, read_control

from ..bounds import require
from ..seeds import vectors
from .built_values import Choices

MAX_LEN = 48
ME = bytes(16)
NODES = (ME, b"a" * 16, b"b" * 16, b"c" * 16)
KEYS = ("x", "x.y", "x.*", "**", "", "*", "a\0b", "\ud7ff" * 3)
NUMBERS = (0, 1, 2, 3, 4, 5, 255, 2**32, 2**63, 2**64 - 1)
ENDPOINTS = ("tcp://h:1", "tcp://h:2", "ipc:///a", "", "tcp://*:0", "junk")
HOME = (v.Address("tcp://me:1", "tcp://me:2"),)
LABEL = v.Label("h", 1)
MOMENTS = (0.0, 0.01, 0.3, 1.0, 2.0, 3.5, 11.0, 40.0, 700.0)


def seeds() -> Iterator[bytes]:
    """Yield scripts: nodes join, change their interest, ask, acknowledge and leave."""
    hello, tick, token = bytes([0, 1, 1, 1, 0, 0]), bytes([14, 2]), bytes([12, 1, 1, 1])
    yield hello + token + tick
    yield hello + bytes([0, 2, 1, 0, 1, 1]) + token + bytes([2, 1, 2, 1, 0, 1, 2]) + tick * 5
    for step in range(16):
        yield hello + token + bytes([step, 1, 2, 3, 1, 2, 0, 1]) + tick + bytes([step, 2, 1, 1])
    for frame, _ in vectors("control"):
        yield hello + bytes([15, min(len(frame), 255)]) + frame


class Script(Choices):
    """Reads steps from bytes."""

    def of(self, choices: tuple) -> object:  # type: ignore[type-arg]
        """Return one of some choices."""
        return choices[self.take() % len(choices)]

    def wanted(self) -> tuple[str, ...]:
        """Return up to three keys."""
        return tuple(self.of(KEYS) for _ in range(self.take() % 4))  # type: ignore[misc]

    def number(self) -> int:
        """Return a number that matters."""
        return self.of(NUMBERS)  # type: ignore[return-value]


def _hello(s: Script, sender: bytes) -> v.Hello:
    what = s.take()
    end = s.of(ENDPOINTS)
    return v.Hello(
        sender,
        "fed" if what % 8 else "other",
        v.Label("host", what),
        (v.Address(end, end),) if what % 5 else (),  # type: ignore[arg-type]
        s.number(),
        s.wanted(),
        versions=(1, 1) if what % 7 else (2, 3),
    )


def _count(me: bytes) -> v.Count:
    return v.Count(me, 1, "x.**")


def _counted(me: bytes) -> v.Counted:
    return v.Counted(me, 1, 1, 1, 1.0, (v.ExchangeCount("x", 1),), "x")


MESSAGES: tuple[Callable[[Script, bytes], v.Control], ...] = (
    _hello,
    lambda s, me: v.Welcome(me, _hello(s, me), ((NODES[3], (v.Address(*ENDPOINTS[:2]),)),)),
    lambda s, me: v.Interest(me, s.number(), s.number(), s.number(), s.wanted(), s.wanted()),
    lambda s, me: v.Ping(me, s.number(), s.number(), s.number()),
    lambda s, me: v.Ack(me, {key: s.number() for key in s.wanted()}),
    lambda s, me: v.Replay(me, s.of(KEYS), s.number(), s.number(), s.number()),
    lambda s, me: v.Replayed(me, s.of(KEYS), s.number(), s.number(), s.number()),
    lambda s, me: v.Recall(me, s.number(), s.of(KEYS)),
    lambda s, me: v.Recalled(me, s.number(), {key: (1, s.number()) for key in s.wanted()}),
    lambda s, me: v.Bye(me, {key: s.number() for key in s.wanted()}),
    lambda s, me: (v.Pong, v.Resync, v.Stranger, _count, _counted)[s.take() % 5](me),
    lambda s, me: v.Refuse(me, ("self", "version", "?")[s.take() % 3]),
)


def step(session: Session, s: Script, now: float) -> float:
    """Take one step; return what time it is then."""
    kind = s.take() % 16
    if kind < len(MESSAGES):
        message = MESSAGES[kind](s, s.of(NODES))  # type: ignore[arg-type]
        _receive(session, message, s.take(), now)
    elif kind == 12:
        session.readiness.token(s.of(NODES), s.number(), bool(s.take() % 4))  # type: ignore[arg-type]
    elif kind == 13:
        session.readiness.change_interest([(s.of(KEYS), bool(s.take() % 2))], now)  # type: ignore[list-item]
        session.readiness.proven(s.of(NODES), s.number())  # type: ignore[arg-type]
    elif kind == 14:
        now += s.of(MOMENTS)  # type: ignore[operator]
        endpoint, how = str(s.of(ENDPOINTS)), s.take() % 3
        if how == 2:
            session.peering.shut_out(endpoint, now)
        else:
            session.peering.probed(endpoint, bool(how), now)
        session.tick(now)
    else:
        try:
            message = read_control(s.some(s.take()))
        except DecodeError:
            return now
        _receive(session, message, s.take(), now)
    return now


def _receive(session: Session, message: v.Control, how: int, now: float) -> None:
    links = tuple(session.members.candidates)
    if how % 3 or not links:
        session.receive(message, b"route", None, now)
    else:
        session.receive(message, None, links[how % len(links)], now)


def carry_out(session: Session) -> None:
    """Do what the session asks for, as far as it hears of it."""
    rounds = 0
    while effects := session.take():
        rounds += 1
        require(rounds < 50, "it asks without end")
        for effect in effects:
            if isinstance(effect, e.Send | e.Reply):
                control_frame(effect.message)
            elif isinstance(effect, e.Announce):
                session.readiness.announced(effect.peer, effect.epoch, {"x": 3})


def check(session: Session) -> None:
    """Hold the session to its limits."""
    members = session.members
    require(len(members.gossip()) <= 2, "gossip")
    require(len(members.peers) <= 2, "peers")
    require(len(members._lapsed.there) <= departed.DEPARTED_MOST, "lapsed")
    require(len(session.rejections) <= MAX_KINDS + 1, "rejections")
    require(len(members.ended.there) <= membership.MAX_ENDED, "ended")
    require(len(session.readiness._tokens) <= proving.MAX_STRANGERS_TOKENS, "tokens")
    require(ME not in members.peers, "ourselves a peer")
    for peer in members.peers.values():
        require(peer.interest.announced <= peer.interest.epoch, peer)
        require(len(peer.interest.promised) <= 16, peer)


def _reachable(address: v.Address) -> bool:
    return address.control.startswith("tcp://h")


def execute(data: bytes) -> None:
    """Run a script."""
    session, now, s = (
        Session(ME, "fed", LABEL, HOME, _reachable, 100.0, room=(2, 128)),
        100.0,
        Script(data),
    )
    while s.left:
        now = step(session, s, now)
        carry_out(session)
    check(session)
    list(session.members.pending(session.interest.epoch))

"""Floods against a node: what they cost stays within docs/LIMITS.md, and good peers are served.

Every flood is bounded in count and ends by itself. The bounds are those that are documented,
with room for what an interpreter and an allocator do beside.
"""

import itertools
import os
import socket
import time
from collections.abc import Iterator

import msgpack
import pytest

from tests.net.attacker import Attacker, Good, Measured, Victim, attacker, good_peer, victim
from tests.net.conftest import publish
from tests.support import eventually, patience
from zexchange import Registry, federate
from zexchange.net.transport.descriptors import shares
from zexchange.protocol.wire import messages as v
from zexchange.protocol.wire.control import control_frame
from zexchange.protocol.wire.data import data_head, ready_topic, topic

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("rendezvous")]

MB = 1 << 20


class Scene:
    """A victim, a good peer, and an attacker."""

    def __init__(self, victim: Victim, good: Good, attacker: Attacker) -> None:
        self.victim, self.good, self.attacker = victim, good, attacker
        self.started = victim.measure()

    def outcome(self, memory: int, seconds: float) -> Measured:
        """See the good peer served, and what the flood has cost within bounds."""
        self.good.served()
        after = self.victim.measure()
        print(f"{(after.most - self.started.now) / MB:.0f} MB", end=" ")
        print(f"{after.seconds - self.started.seconds:.2f} s", after.rejected)
        assert after.most - self.started.now <= memory
        assert after.seconds - self.started.seconds <= seconds
        return after


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    files = getattr(request, "param", 0)
    with victim(files) as node, good_peer() as good, attacker(node) as attacks:
        yield Scene(node, good, attacks)
        good.served()


@pytest.mark.parametrize(
    ("connections", "cuts", "memory"),
    [(4, 1, 600 * MB), pytest.param(12, 5, 1400 * MB, marks=pytest.mark.slow)],
)
def test_junk_subscriptions_are_cut(scene: Scene, connections: int, cuts: int, memory: int) -> None:
    """120,000 random topics would cost 1.5 GB: whoever has brought most is cut, and they go."""
    for _ in range(connections):
        one = scene.attacker.subscriber()
        for _ in range(10_000):
            one.send(b"\x01" + os.urandom(250))
        scene.good.served()
    eventually(lambda: scene.victim.measure().told("more subscriptions") >= cuts)
    # What libzmq has taken in before it can be said whose that is depends on who has the
    # processor: 480 to 1120 MB were seen, and docs/LIMITS.md says up to 1.3 GB.
    scene.outcome(memory, seconds=60)


def test_refusals_that_nobody_reads(scene: Scene) -> None:
    """Strangers who ask without end, and read no answer, have few of them wait here."""
    links = [scene.attacker.dealer() for _ in range(40)]
    asked = [
        control_frame(scene.attacker.hello(os.urandom(16), federation="f" * 255)),
        control_frame(v.Ping(os.urandom(16), 1, 1)),
    ]
    for _ in range(150):
        for link in links:
            for frame in asked:
                link.send(frame)
    eventually(lambda: scene.victim.measure().told("federation") >= 6000)
    scene.outcome(memory=60 * MB, seconds=30)


def test_connections_that_come_and_go(scene: Scene) -> None:
    """Two thousand connections that are opened, say half a word and go leave nothing behind."""
    files = scene.started.files
    for n in range(1000):
        for endpoint in (scene.victim.control, scene.victim.data):
            with socket.create_connection(("127.0.0.1", scene.victim.port(endpoint))) as one:
                one.sendall((b"", b"\xff", b"\xff\0\0\0\0\0\0\0\x01\x7f\x03", b"GET / ")[n % 4])
    scene.outcome(memory=60 * MB, seconds=20)
    eventually(lambda: scene.victim.measure().files <= files + 20)


@pytest.mark.parametrize("scene", [256], indirect=True)
def test_half_open_handshakes_take_all_files(scene: Scene) -> None:
    """When strangers hold every descriptor there is, those who are peers already are served on."""
    port, held = scene.victim.port(scene.victim.control), []
    try:
        for _ in range(300):
            one = socket.socket()
            held.append(one)
            one.settimeout(5)
            one.connect(("127.0.0.1", port))
            one.sendall(b"\xff\0\0\0")
        after = scene.outcome(memory=60 * MB, seconds=30)
        assert after.files <= 256
    finally:
        for one in held:
            one.close()
    eventually(lambda: scene.victim.measure().files < 150)


@pytest.mark.parametrize("scene", [512], indirect=True)
def test_hellos_of_the_made_up(scene: Scene) -> None:
    """Thousands of new ids take no more places than there are files for, and leave them again."""
    links = [scene.attacker.dealer() for _ in range(50)]
    for n in range(5000):
        links[n % 50].send(control_frame(scene.attacker.hello(n.to_bytes(16, "big"))))
    eventually(lambda: scene.victim.measure().told("full"))
    eventually(lambda: scene.victim.measure().told("newcomers"))
    after = scene.outcome(memory=60 * MB, seconds=30)
    assert after.peers <= shares(512)[0]
    assert after.files < 512


def test_gossip_of_the_made_up(scene: Scene) -> None:
    """A peer that knows of hundreds of thousands makes us dial few at a time."""
    attacks = scene.attacker
    route = attacks.join()
    for n in range(40):
        known = [
            (os.urandom(16), (v.Address(f"tcp://127.0.0.1:{p}", "tcp://127.0.0.1:1"),))
            for p in range(1 + n * 1000, 1 + (n + 1) * 1000)
        ]
        welcome = v.Welcome(attacks.me, attacks.hello(), tuple(known))
        attacks.alive(lambda w=welcome: attacks.router.send_multipart([route, control_frame(w)]))
    eventually(lambda: scene.victim.measure().told("more endpoints"))
    scene.outcome(memory=60 * MB, seconds=30)
    # Those of whom it has given up may still be closing.
    most = scene.started.files + 3 * 128 + 20
    eventually(lambda: scene.victim.measure().files <= most)


def test_acknowledgements_of_the_made_up(scene: Scene) -> None:
    """What was never sent cannot be acknowledged: it is neither kept nor progress."""
    attacks = scene.attacker
    attacks.join()
    for n in range(300):
        made_up = {f"{n}.{m}" + "x" * 50: m for m in range(1000)}
        attacks.alive(lambda m=made_up: attacks.say(v.Ack(attacks.me, {**m, "answer": 2**64 - 1})))
    eventually(lambda: scene.victim.measure().told("more control"))
    scene.outcome(memory=60 * MB, seconds=30)


def test_requests_without_end(scene: Scene) -> None:
    """Replays and recalls that nobody reads are answered up to a bound, and not beyond."""
    attacks = scene.attacker
    attacks.join()
    numbers = itertools.count()

    def ask() -> None:
        n = next(numbers)
        requests = [
            *[v.Replay(attacks.me, "answer", 1, 2**64 - 1)] * 50,
            *[v.Replay(attacks.me, "kept", 1, 100, n + 1)] * 25,
            *[v.Recall(attacks.me, n + 1, "kept")] * 25,
        ]
        attacks.alive(lambda r=requests: attacks.say(*r))

    def told() -> object:
        ask()
        return scene.victim.measure().told("more requests")

    begun = time.monotonic()
    over = begun + 15
    for _ in itertools.takewhile(lambda _: time.monotonic() < over, range(300)):
        ask()
    eventually(told)  # on a busy machine no such flood may have come about yet
    # So many a second are answered: a flood that lasts longer costs more in all.
    scene.outcome(memory=200 * MB, seconds=40 * max(1.0, (time.monotonic() - begun) / 15))


def test_tokens_under_anothers_id(scene: Scene) -> None:
    """Tokens of huge epochs under a good peer's id keep it from nothing."""
    good = scene.good.node
    stranger, me = scene.attacker.subscriber(), bytes.fromhex(good.id)
    for epoch in (0, 2**32, 2**63, 2**64 - 1, *range(3, 60)):
        stranger.send(b"\x01" + ready_topic(me, epoch))
        stranger.send(b"\x00" + ready_topic(me, 0))
    got: list[object] = []
    for n in range(3):
        scene.good.registry.get(f"new.{n}").handler(got.append)
        good.wait_ready(timeout=patience())
    scene.outcome(memory=60 * MB, seconds=20)


BOMBS = {
    "deep": b"\x91" * 1023 + b"\xc0",
    "deep maps": b"\x81\xc0" * 1015 + b"\xc0",
    "deeper": b"\x91" * (3 * MB),
    "announced": b"\xdd\x00\x03\xff\xff" * 200_000,
    "dense": b"\xdd" + (3 * MB).to_bytes(4, "big") + b"\x80" * (3 * MB),
    "dense maps": b"\xdd" + MB.to_bytes(4, "big") + b"\x81\xc0\xc0" * MB,
    "huge text": b"\xdb\xff\xff\xff\xff",
}


def test_bombs_on_control(scene: Scene) -> None:
    """Small control frames that ask for gigabytes, anywhere in a message, get nothing."""
    ping = control_frame(v.Ping(scene.attacker.me, 1, 1))
    for _ in range(3):
        for bomb in BOMBS.values():
            link = scene.attacker.dealer()  # a fresh one, whose allowance is whole
            link.send(b"\x02" + bomb)
            link.send(ping.replace(b"\xa5epoch\x01", b"\xa5epoch" + bomb))
            link.send(b"\x02" + msgpack.packb(["hello", bytes(16)])[:-1] + bomb)
        scene.good.served()
    eventually(lambda: scene.victim.measure().told("malformed") >= 12)
    eventually(lambda: scene.victim.measure().told("large control messages"))
    scene.outcome(memory=150 * MB, seconds=40)


def test_bombs_on_the_data_path(scene: Scene) -> None:
    """Frames of a peer that ask for gigabytes are rejected, and others' messages flow."""
    with federate("fed", registry=Registry(), join_timeout=patience()) as other:
        other.wait_subscribers("sink", 1, timeout=patience())
        other.wait_ready(timeout=patience())

        def frames(me: bytes) -> Iterator[list[bytes]]:
            first = 1
            for name, bomb in BOMBS.items():
                if not name.startswith("dense"):
                    yield [data_head(topic("sink"), me, first, 1, 1.0) + bomb]
                    yield [data_head(topic("sink"), me, first + 1, 2**32 - 1, 1.0) + bomb]
                    first += 2**32
            yield [data_head(topic("sink"), me, 2**63, 5, 1.0) + b"\x00" * 5]

        publish(other, frames)
        eventually(lambda: scene.victim.measure().told("values") >= 8)
        scene.outcome(memory=150 * MB, seconds=40)

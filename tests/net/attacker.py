"""What a hostile process does to a node, by hand, and a victim that can be measured.

The victim is a process of its own: what it takes is its own memory and time. A good peer
sends it numbers all the while, and must get each of them back, once and in order.
"""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import zmq

from tests.support import Program, eventually, free_ports, patience, tcp
from zexchange import Registry, federate
from zexchange.protocol.wire import messages as v
from zexchange.protocol.wire.control import control_frame, read_control

VICTIM = """
import json, os, resource
import zexchange
limit = int(sys.argv[1])
if limit:
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
from zexchange.net.engine import executor
# Small, so that a flood of requests goes beyond it on a busy machine, too.
executor.AT_ONCE, executor.A_SECOND = 8 << 20, 1 << 20
zexchange.retain("kept", 100)
for n in range(100):
    zexchange.get_exchange("kept").send(b"k" * 1000)
node = zexchange.federate(
    "fed", listen="tcp://127.0.0.1:0", exchanges=("ask", "answer", "kept", "sink")
)
answer = zexchange.get_exchange("answer")
zexchange.get_exchange("ask").handler(answer.send)
zexchange.get_exchange("sink").handler(lambda msg: None)

status_file = open("/proc/self/status")  # while there is a descriptor for it

def files():
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return limit

def measured():
    status_file.seek(0)
    status = dict(line.split(":", 1) for line in status_file)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return json.dumps({
        "now": int(status["VmRSS"].split()[0]) << 10,
        "most": int(status["VmHWM"].split()[0]) << 10,
        "seconds": used.ru_utime + used.ru_stime,
        "files": files(),
        "peers": len(node.peers),
        "rejected": [[*kind, n] for kind, n in node.stats().rejected.items()],
        "addresses": [[a.control, a.data] for a in node._engine.session.addresses],
        "id": node.id,
    })

print(measured())
for line in sys.stdin:
    print(measured())
node.close(timeout=0)
"""


@dataclass(frozen=True)
class Measured:
    """What the victim says of itself."""

    now: int
    most: int
    seconds: float
    files: int
    peers: int
    rejected: list[tuple[str, str, int]]
    addresses: list[list[str]]
    id: str

    def told(self, words: str) -> int:
        """How often something was rejected for a reason with these words in it."""
        return sum(n for _, reason, n in self.rejected if words in reason)


class Victim:
    """A node in a process of its own."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.before = self._read()
        self.control, self.data = self.before.addresses[-1]
        assert self.control.startswith("tcp")

    def _read(self) -> Measured:
        return Measured(**json.loads(self._program.line()))

    def measure(self) -> Measured:
        self._program.say()
        return self._read()

    def port(self, endpoint: str) -> int:
        return int(endpoint.rpartition(":")[2])


@contextmanager
def victim(files: int = 0) -> Iterator[Victim]:
    """Run a victim, with at most so many files open at a time."""
    with Program(VICTIM, files) as program:
        yield Victim(program)


class Good:
    """A peer that asks the victim without end, from a thread, and hears its answers."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.got: list[int] = []
        self.registry.get("answer").handler(self.got.append)
        self.node = federate("fed", registry=self.registry, join_timeout=patience())
        self.node.wait_subscribers("ask", 1, timeout=patience())
        self.node.wait_ready(timeout=patience())
        self.asked = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        ask = self.registry.get("ask")
        while not self._stop.wait(0.001):
            ask.send(self.asked)
            self.asked += 1

    def served(self) -> None:
        """See some hundred more answers come: messages flow while others attack."""
        goal = len(self.got) + 300
        eventually(lambda: len(self.got) >= goal)

    def finish(self) -> None:
        """Ask no more; all that was asked was answered, once and in order."""
        self._stop.set()
        self._thread.join()
        eventually(lambda: len(self.got) >= self.asked)
        assert self.got == list(range(self.asked))


@contextmanager
def good_peer() -> Iterator[Good]:
    """A good peer, whose sums are checked at the end."""
    good = Good()
    try:
        yield good
        good.finish()
    finally:
        good._stop.set()
        good.node.close()


class Attacker:
    """Sockets by hand, which say to a victim whatever a test likes."""

    def __init__(self, victim: Victim) -> None:
        self.victim = victim
        self.me = os.urandom(16)
        self._context: zmq.Context[Any] = zmq.Context()
        self._sockets: list[zmq.Socket[Any]] = []
        self.link = self.dealer()
        one, two = free_ports()
        self.address = v.Address(tcp(one), tcp(two))
        self.router = self._socket(zmq.ROUTER)
        self.router.bind(self.address.control)
        self.xpub = self._socket(zmq.XPUB)
        self.xpub.bind(self.address.data)

    def _socket(self, kind: int) -> "zmq.Socket[Any]":
        socket = self._context.socket(kind)
        self._sockets.append(socket)
        return socket

    def dealer(self) -> "zmq.Socket[Any]":
        """Return a fresh link to the victim."""
        link = self._socket(zmq.DEALER)
        link.setsockopt(zmq.SNDTIMEO, int(patience() * 1000))
        link.connect(self.victim.control)
        return link

    def subscriber(self) -> "zmq.Socket[Any]":
        """Return a socket that can subscribe to anything at the victim, until it is cut."""
        socket = self._socket(zmq.XSUB)
        socket.setsockopt(zmq.RECONNECT_IVL, -1)
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.connect(self.victim.data)
        return socket

    def hello(self, sender: bytes | None = None, **changed: Any) -> v.Hello:
        """Return a hello, of ourselves or of somebody made up."""
        told: dict[str, Any] = {
            "federation": "fed",
            "label": v.Label("attacker", 1),
            "addresses": (self.address,),
            "epoch": 1,
            "interest": ("answer", "kept"),
        }
        return v.Hello(sender or self.me, **{**told, **changed})

    def say(self, *messages: v.Control) -> None:
        """Say something on our link."""
        for message in messages:
            self.link.send(control_frame(message))

    def join(self) -> bytes:
        """Become a peer, and return the route by which the victim has dialled us."""
        self.say(self.hello())
        assert self.router.poll(int(patience() * 1000))
        route, frame = self.router.recv_multipart()
        assert isinstance(read_control(frame), v.Hello)
        self.router.send_multipart([route, control_frame(v.Welcome(self.me, self.hello()))])
        return bytes(route)

    def alive(self, every: Callable[[], None]) -> None:
        """Do something while we seem to be a living peer."""
        every()
        while self.router.poll(0):
            route, _ = self.router.recv_multipart()
            self.router.send_multipart([route, control_frame(v.Pong(self.me))])
        self.say(v.Ping(self.me, 1, 1))

    def close(self) -> None:
        for socket in self._sockets:
            socket.close(linger=0)
        self._context.term()


@contextmanager
def attacker(of: Victim) -> Iterator[Attacker]:
    attacks = Attacker(of)
    try:
        yield attacks
    finally:
        attacks.close()

"""Code of a program that a node calls may ask for everything, and so may what it waits for."""

import threading
from collections.abc import Callable

import pytest

from tests.locks import Asking, held
from tests.net.conftest import Joiner
from tests.support import PATIENCE, Program, eventually
from zexchange import Node, NotReady, register, to_call
from zexchange.history import Frame

pytestmark = pytest.mark.sockets


@pytest.fixture
def everything() -> Callable[[Node], None]:
    """Ask a node for everything, on this thread and on another one, which must not wait for it."""

    def ask(node: Node) -> None:
        assert held() == []
        answered = threading.Event()

        def elsewhere() -> None:
            questions(node)
            answered.set()

        threading.Thread(target=elsewhere).start()
        assert answered.wait(PATIENCE / 2)
        questions(node)

    return ask


def questions(node: Node) -> None:
    """Ask for everything that can be asked for, also of the registry that is federated."""
    _ = (
        node.peers,
        node.stats(),
        node.id,
        node.endpoints,
        repr(node),
        node._running().bridges.get("asked"),
    )
    exchange, task = node.registry.get("asked"), Asking()
    exchange.attach(to_call(lambda msg: None))
    exchange.handler(task.emit)
    exchange.send(1)
    exchange.detach(task.emit)
    exchange.detach(exchange.subscribers[0])
    node.registry.match("asked.*").stream().close()
    waits = [node.wait_ready, node.wait_peers, node.flush, lambda: node.diagnose("asked", 0.1)]
    for wait in waits if node._would_wait_for_itself() else ():
        with pytest.raises(RuntimeError, match="wait for itself"):
            wait()


def test_a_subscriber_of_events_may_ask_for_everything(
    join: Joiner,
    everything: Callable[[Node], None],
) -> None:
    """Whoever joins, leaves, is refused or loses something."""
    node, here = join()
    told: list[str] = []
    wrong: list[BaseException] = []

    @node.events.handler
    def tell(event: object) -> None:
        try:
            everything(node)
        except BaseException as error:
            wrong.append(error)
        told.append(type(event).__name__)

    for _ in range(2):
        other, there = join()
        there.get("x").handler(lambda msg: None)
        node.wait_subscribers("x")
        here.get("x").send(1)
        other.close()
    assert node._engine is not None
    node._engine.post(lambda: node._engine.session.reject("somebody", "for nothing"))  # type: ignore[union-attr]
    eventually(lambda: told.count("PeerLeft") == 2 and "Rejected" in told)
    assert wrong == []


class Thing:
    """Something that is encoded by the program."""


@pytest.mark.parametrize("thread", ["zexchange-control", "MainThread"])
def test_what_encodes_may_ask_for_everything(
    join: Joiner,
    everything: Callable[[Node], None],
    thread: str,
) -> None:
    """On whichever thread what was kept before is encoded for a bridge that comes."""
    node, here = join()
    wrong: list[BaseException] = []
    threads: list[str] = []

    def encode(thing: Thing) -> int:
        threads.append(threading.current_thread().name)
        try:
            everything(node)
        except BaseException as error:
            wrong.append(error)
        return 1

    register(Thing, encode, lambda value: Thing(), name="tests.Thing")
    exchange = here.get("x")
    if thread == "MainThread":
        exchange.send(Thing())
        here.retain("x", 5)
        exchange.send(Thing())
    else:
        here.retain("x", 5)
        exchange._detach_bridge(node._running().bridges.get("x"))
        exchange.send(Thing())
        _, there = join()
        got = there.get("x").stream(history=5)
        assert isinstance(got.get(PATIENCE), Thing)
    assert thread in threads
    assert wrong == []


def test_a_finaliser_inside_a_send_may_ask(join: Joiner) -> None:
    """The control thread waits for its socket, with the lock of the session that it asks for."""
    node, here = join()
    _, there = join()
    there.get("x").handler(lambda msg: None)
    node.wait_subscribers("x")
    engine = node._engine
    assert engine is not None
    keep, asked, failed = engine.outbound.keep, list[object](), list[BaseException]()

    def session_held() -> bool:
        if engine.changed.acquire(blocking=False):
            engine.changed.release()
            return False
        return True

    def inside(frame: Frame) -> None:
        keep(frame)
        if not asked:
            asked.append("something")
            try:
                engine.post(engine.outbound.heads)  # type: ignore[arg-type]
                eventually(session_held)
                asked.extend([node.peers, node.stats()])
                with pytest.raises(RuntimeError, match="wait for itself"):
                    node.wait_peers(1)
            except BaseException as error:
                failed.append(error)

    engine.outbound.keep = inside
    here.get("x").send(1)
    eventually(lambda: len(asked) == 3 or failed)
    node.flush()
    assert failed == []


def test_who_only_looks_waits_for_no_lock_for_long(join: Joiner) -> None:
    """Nor does a wait beyond its time: whoever has the lock may wait for this very thread."""
    node, _ = join()
    engine = node._engine
    assert engine is not None
    taken, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with engine.changed, engine.outbound._lock:
            taken.set()
            go_on.wait(PATIENCE)

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(PATIENCE)
    assert node.peers == ()
    assert node.stats().sent == {}
    with pytest.raises(NotReady):
        node.wait_peers(1, 0.3)
    go_on.set()
    holder.join()


FINALISERS = """
import gc, threading, zexchange
asking, asked, over = threading.local(), [0], threading.Event()

class Circle:
    def __init__(self):
        self.me = self
    def __del__(self):
        if over.is_set() or getattr(asking, "now", False):
            return
        asking.now = True
        try:
            asked[0] += 1
            ask(asked[0])
        finally:
            asking.now = False

def ask(n):
    kind = n % 8
    if kind == 0:
        node.peers
    elif kind == 1:
        node.stats(), here.stats(), here.subscribers
    elif kind == 2:
        stream = there.match(f"y.{n % 7}").stream(history=2)
        stream.close()
    elif kind == 3:
        zexchange.get_exchange(f"y.{n % 7}").send([n])
    elif kind == 4:
        task = here.handler(lambda msg: None)
        here.send(n)
        here.detach(task)
    elif kind == 5:
        there.get("z").detach(there.get("z").handler(lambda msg: None))
    elif kind == 6:
        zexchange.get_exchange(f"new.{n}").send(n)
    else:
        zexchange.match("**").attach(seen), zexchange.match("**").detach(seen)
    if asked[0] >= 2000:
        over.set()

here = zexchange.get_exchange("z")
zexchange.retain("y.*", 2)
seen = zexchange.to_call(lambda msg: None)

def send():
    while not over.is_set():
        Circle()
        zexchange.get_exchange("x").send([{}, []])

def attach():
    while not over.is_set():
        Circle()
        here.detach(here.handler(lambda msg: None))

def view():
    while not over.is_set():
        Circle()
        with zexchange.match("y.*").stream() as stream:
            zexchange.get_exchange("y.1").send(1)

def look():
    while not over.is_set():
        Circle()
        node.stats(), node.wait_subscribers("x", 1, 300)

there = zexchange.Registry()
there.get("x").handler(lambda msg: None)
with zexchange.federate("fed") as node, zexchange.federate("fed", registry=there):
    node.wait_subscribers("x", 1, 300)
    gc.set_threshold(1, 20, 20)
    acts = (send, send, attach, attach, view, look)
    threads = [threading.Thread(target=act) for act in acts]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    gc.set_threshold(700, 10, 10)
    node.flush(300)
print("done", flush=True)
"""


def test_finalisers_may_do_all_wherever_they_run(rendezvous: object) -> None:
    """Those of circles run wherever something is made, in the middle of our locks, too."""
    with Program(FINALISERS) as program:
        program.expect("done", 4 * PATIENCE)

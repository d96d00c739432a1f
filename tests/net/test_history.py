"""Late joiners: the newest messages, whichever publishers keep them, then all that follows."""

import threading

import pytest

from tests.net.conftest import Joiner
from tests.net.test_tcp import behind
from tests.relay import Relay
from tests.support import Program, eventually, tcp
from zexchange import Delivery, PeerLeft, Registry

pytestmark = pytest.mark.sockets


class Task:
    """Lists what it gets."""

    def __init__(self) -> None:
        self.got: list[object] = []

    def send(self, msg: object) -> None:
        self.got.append(msg)


def test_the_newest_messages_of_all_publishers_come_first(join: Joiner) -> None:
    """Those that were sent before the node was there included; then what is sent live."""
    one, two, late = Registry(), Registry(), Registry()
    one.retain("config", 3)
    for n in range(5):
        one.get("config").send(("one", n))
    first, _ = join(registry=one)
    second, _ = join(registry=two, retain={"*": 2})
    two.get("config").send(("two", 0))
    one.get("config").send(("one", 5))
    node, _ = join(registry=late)
    late.get("config").attach(task := Task(), history=2)
    eventually(lambda: len(task.got) == 2)
    assert task.got == [("two", 0), ("one", 5)]
    one.get("config").send(("one", 6))
    first.flush()
    two.get("config").send(("two", 1))
    second.flush()
    of = {who: [n for w, n in task.got if w == who] for who in ("one", "two")}  # type: ignore[misc]
    assert of == {"one": [5, 6], "two": [0, 1]}
    assert all(tally.lost == 0 for tally in node.stats().received.values())


@pytest.mark.parametrize("first", ["attached", "joined"])
def test_who_comes_sees_the_value_that_was_set_last(join: Joiner, first: str) -> None:
    """Of two publishers that keep one, and whether it attaches before it joins, or after."""
    publishers = [Registry() for _ in range(2)]
    nodes = [join(registry=registry, retain={"colour": 1})[0] for registry in publishers]
    for colour, publisher in (("red", 0), ("green", 1), ("blue", 0)):
        publishers[publisher].get("colour").send(colour)
    for _ in range(3):
        here, task = Registry(), Task()
        if first == "attached":
            here.get("colour").attach(task, history=1)
        node, _ = join(registry=here)
        if first == "joined":
            here.get("colour").attach(task, history=1)
        eventually(lambda task=task: task.got)
        node.wait_ready()
        for other in nodes:
            other.wait_subscribers("live", 0)
        eventually(lambda here=here: not here._joiners()[0][1].open)
        assert task.got == ["blue"]
        node.close()


def test_a_second_task_has_history_of_its_own(join: Joiner) -> None:
    """Also where the exchange is received already: each joiner has its own beginning."""
    node, here = join(retain={"x": 3})
    _, there = join()
    there.get("x").attach(first := Task())
    node.wait_subscribers("x", 1)
    for n in range(5):
        here.get("x").send(n)
    node.flush()
    there.get("x").attach(second := Task(), history=2)
    eventually(lambda: second.got == [3, 4])
    here.get("x").send(5)
    node.flush()
    assert first.got == [0, 1, 2, 3, 4, 5]
    assert second.got == [3, 4, 5]


def test_a_publisher_that_comes_later_gives_its_history_too(join: Joiner) -> None:
    """Whatever it sent before we met; and what is kept of one that has left is gone."""
    node, here = join()
    here.match("state.**").attach(task := Task(), names=True, history=5)
    earlier = Registry()
    earlier.retain("**", 5)
    earlier.get("state.a").send(1)
    earlier.get("state.b.c").send(2)
    earlier.get("other").send(3)
    publisher, _ = join(registry=earlier)
    eventually(lambda: len(task.got) == 2)
    assert task.got == [("state.a", 1), ("state.b.c", 2)]
    left: list[object] = []
    node.events.handler(left.append)
    publisher.close()
    eventually(lambda: any(isinstance(event, PeerLeft) for event in left))
    here.get("state.a").attach(late := Task(), history=5)
    node.wait_ready()
    assert late.got == []


def test_streams_have_it_in_place_with_its_numbers(join: Joiner) -> None:
    """History and live messages of an origin are numbered without a seam."""
    node, here = join(retain={"x": 100})
    _, there = join()
    for n in range(50):
        here.get("x").send(n)
    with there.get("x").stream(details=True, history=20) as stream:
        node.wait_subscribers("x", 1)
        here.get("x").send(50)
        items = [stream.get(10) for _ in range(21)]
    assert all(isinstance(item, Delivery) and item.origin == node.id for item in items)
    assert [item.msg for item in items] == list(range(30, 51))
    assert [item.seq for item in items] == list(range(31, 52))


def test_retention_that_begins_later(join: Joiner) -> None:
    """`Registry.retain` counts from when it was called, and 0 takes it back."""
    node, here = join()
    _, there = join()
    here.get("x").send("before")
    here.retain("x", 2)
    for n in range(3):
        here.get("x").send(n)
    there.get("x").attach(first := Task(), history=9)
    eventually(lambda: first.got == [1, 2])
    here.retain("x", 0)
    there.get("x").attach(second := Task(), history=9)
    here.get("x").send(3)
    node.flush()
    eventually(lambda: second.got == [3])
    assert first.got == [1, 2, 3]


def test_no_seam_under_load(join: Joiner) -> None:
    """Joiners at any moment of a flood: each has an unbroken run of numbers to the very end."""
    node, here = join(retain={"x": 200})
    _, there = join()
    there.get("x").attach(steady := Task())
    node.wait_subscribers("x", 1)
    joiners: list[Task] = []
    sending, sent = threading.Event(), 0

    def send() -> None:
        nonlocal sent
        while sent < 60_000 or len(joiners) < 4:  # however quick that is
            here.get("x").send(sent)
            sent += 1
            if sent == 2_000:
                sending.set()

    thread = threading.Thread(target=send)
    thread.start()
    sending.wait(30)
    while thread.is_alive() and len(joiners) < 12:
        joiners.append(Task())
        (there.match("*") if len(joiners) % 3 else there.get("x")).attach(joiners[-1], history=100)
        before = len(steady.got)
        eventually(lambda before=before: len(steady.got) > before or not thread.is_alive())
    thread.join(60)
    assert not thread.is_alive()
    node.flush(30)
    last = Task()
    there.get("x").attach(last, history=100)
    eventually(lambda: last.got == list(range(sent - 100, sent)))
    eventually(lambda: all(task.got and task.got[-1] == sent - 1 for task in joiners))
    for task in joiners:
        assert task.got == list(range(task.got[0], sent))  # type: ignore[call-overload]


def test_a_large_history_comes_in_parts_and_through_cuts(
    relays: tuple[Relay, Relay], join: Joiner
) -> None:
    """Megabytes of it, while the control connection is cut: asked for again, and complete."""
    _, here = behind(join, relays, retain={"big": 60})
    for n in range(60):
        here.get("big").send((n, bytes(100_000)))
    _, there = join(peers=[tcp(relays[0].port)], local=False)
    there.get("big").attach(task := Task(), history=60)
    for _ in range(3):
        accepted = relays[0].accepted
        relays[0].cut()
        eventually(lambda accepted=accepted: relays[0].accepted > accepted)
    eventually(lambda: len(task.got) == 60)
    assert [n for n, _ in task.got] == list(range(60))  # type: ignore[misc]


@pytest.mark.leaves_files
def test_a_publisher_that_dies_meanwhile_keeps_nobody_waiting(join: Joiner) -> None:
    """What came live of it is handed on, as soon as it is known to be gone."""
    _, here = join()
    with Program(
        """
import zexchange
node = zexchange.federate("fed", retain={"x": 3})
node.wait_subscribers("x", 1)
zexchange.get_exchange("x").send("kept")
node.flush()
print("up", flush=True)
sys.stdin.readline()
node._engine.bridges.kept = lambda key: os._exit(1)
print("ready", flush=True)
sys.stdin.read()
"""
    ) as publisher:
        here.get("x").attach(first := Task())
        publisher.expect("up")
        assert first.got == ["kept"]
        publisher.say()
        publisher.expect("ready")
        here.get("x").attach(late := Task(), history=3)
        here.get("x").attach(other := Task(), history=3)
        eventually(lambda: publisher.process.poll() is not None)
        eventually(lambda: not here._joiners()[0][1].open and not here._joiners()[1][1].open)
        assert late.got == other.got == []


def test_a_forked_child_does_not_wait_for_its_parents_joiners(join: Joiner) -> None:
    """Its own node gives its tasks what is live, and no history a second time."""
    with Program(
        """
import zexchange
got = []
class Task:
    def send(self, msg): got.append(msg)
node = zexchange.federate("fed", retain={"y": 1})
zexchange.get_exchange("x").attach(Task(), history=3)
print("up", flush=True)
eventually(lambda: got == [1])
sys.stdin.readline()
pid = os.fork()
if pid == 0:
    zexchange.get_exchange("z")
    node.wait_peers(1)
    zexchange.get_exchange("child").send("ready")
    node.flush()
    eventually(lambda: got[-1:] == ["live"])
    os.write(1, (repr(got) + "\\n").encode())
    node.close()
    os._exit(0)
os.waitpid(pid, 0)
sys.stdin.read()
node.close()
"""
    ) as program:
        node, here = join(retain={"x": 3})
        here.get("x").send(1)
        program.expect("up")
        node.wait_subscribers("x", 1)
        child = here.get("child").stream()
        node.flush()
        program.say()
        assert child.get(20) == "ready"
        child.close()
        here.get("x").send("live")
        program.expect("[1, 'live']")


def test_what_a_parent_keeps_is_not_its_childs_too(join: Joiner) -> None:
    """A forked child does not give again what its parent gives, in the child itself neither."""
    with Program(
        """
import zexchange
got = []
class Task:
    def send(self, msg): got.append(msg)
node = zexchange.federate("fed", retain={"x": 5})
zexchange.get_exchange("x").send("green")
pid = os.fork()
if pid == 0:
    zexchange.get_exchange("x").attach(Task(), history=5)
    node.wait_peers(1)
    zexchange.get_exchange("x").send("blue")
    eventually(lambda: "green" in got)
    os.write(1, (repr(sorted(got)) + "\\n").encode())
    sys.stdin.read()
    node.close()
    os._exit(0)
sys.stdin.read()
os.waitpid(pid, 0)
node.close()
"""
    ) as program:
        program.expect("['blue', 'green']")
        node, here = join()
        node.wait_peers(2)
        here.get("x").attach(task := Task(), history=5)
        eventually(lambda: not here._joiners()[0][1].open)
        assert sorted(task.got) == ["blue", "green"]  # type: ignore[type-var]

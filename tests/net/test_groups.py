"""Groups between nodes, over real sockets and among real processes."""

import random
import signal
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.net.conftest import Joiner
from tests.support import PATIENCE, Program, eventually, tcp
from zexchange import Delivery, EncodeError, LimitReached, Lost, NotReady, Registry, federate
from zexchange.net.hub.hub import Hub
from zexchange.protocol.wire.jobs import PROGRESS, kind_of

pytestmark = pytest.mark.sockets

WORKING = """
import os
import time
import zexchange
exchange = zexchange.get_exchange("x")
file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
with zexchange.federate("fed", **eval(sys.argv[2])) as node:
    with exchange.stream(group="workers", details=True) as stream:
        print("here", flush=True)
        for item in stream:
            if item.msg == "end":
                break
            time.sleep(float(sys.argv[3]))
            os.write(file, f"{os.getpid()} {item.msg} {int(item.redelivered)}\\n".encode())
"""


def handled(file: Path) -> list[tuple[int, int, bool]]:
    """Return what workers have written: who, which message, whether it was redelivered."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [(int(who), int(msg), marked == "1") for who, msg, marked in map(str.split, lines)]


def members(registry: Registry, n: int, name: str = "x") -> None:
    """Wait until an exchange has so many members of its group."""
    roster = registry._groups()
    eventually(lambda: len(roster._index.on(name)) == n)


def test_members_here_and_there_share(join: Joiner) -> None:
    """Each message goes to one of three members; plain subscribers get all."""
    nodes = [join() for _ in range(3)]
    registries = [registry for _, registry in nodes]
    got = [list[int]() for _ in registries]
    for registry, mine in zip(registries, got, strict=True):

        def work(msg: int, mine: list[int] = mine) -> None:
            time.sleep(0.001)
            mine.append(msg)

        registry.get("x").handler(work, group="workers")
    _, apart = join()
    with apart.get("x").record() as everything:
        for registry in registries:
            members(registry, 3)
        near = registries[0].get("x")
        nodes[0][0].wait_subscribers("x", 3)  # two with members, and the one apart
        for n in range(300):
            near.send(n)
        eventually(lambda: sum(map(len, got)) == 300)
        eventually(lambda: everything == list(range(300)))
    assert sorted(msg for mine in got for msg in mine) == list(range(300))
    assert all(mine == sorted(mine) for mine in got)
    assert all(len(mine) > 30 for mine in got)


def test_what_arrives_and_how(join: Joiner) -> None:
    """Types, headers and details of a message, by name and by pattern; large ones too."""
    _, there = join()
    with there.match("jobs.**").stream(group="workers", details=True) as stream:
        node, here = join()
        members(here, 1, "jobs.a")
        near = here.get("jobs.a")
        near.send_with({1: (b"x", {2})}, {"trace": "abc"})
        near.send("plain")
        near.send(bytes(5 << 20))
        first, second, large = [stream.get(PATIENCE) for _ in range(3)]
    assert isinstance(first, Delivery)
    assert isinstance(second, Delivery)
    assert (first.name, first.msg, dict(first.headers)) == (
        "jobs.a",
        {1: (b"x", {2})},
        {"trace": "abc"},
    )
    assert first.origin == node.id
    assert (second.msg, dict(second.headers), second.redelivered) == ("plain", {}, False)
    assert isinstance(large, Delivery)
    assert large.msg == bytes(5 << 20)


def test_a_type_is_made_again_and_what_does_not_fit_is_rejected(join: Joiner) -> None:
    node, there = join()
    far = there.get("x", type=dict[str, int])
    with far.stream(group="workers") as stream:
        _, here = join()
        members(here, 1)
        here.get("x").send("no dict")
        here.get("x").send({"a": 1})
        assert stream.get(PATIENCE) == {"a": 1}
        eventually(lambda: node.stats().rejected)
    eventually(lambda: here.get("x").stats().groups[0].under_way == 0)


def test_what_cannot_travel_is_told_to_its_sender(join: Joiner) -> None:
    _, there = join()
    far, got = there.get("x"), list[object]()
    far.handler(got.append, group="workers")
    _, here = join()
    members(here, 1)
    with pytest.raises(EncodeError):
        here.get("x").send(object())
    here.get("x").send(1)
    eventually(lambda: got == [1])


def test_a_member_that_leaves_gives_back_what_it_has_not_done(join: Joiner) -> None:
    _, there = join()
    _, here = join()
    near = here.get("x")
    with there.get("x").stream(group="workers", ahead=5) as first:
        members(here, 1)
        for n in range(5):
            near.send(n)
        assert first.get(PATIENCE) == 0
        assert first.get(PATIENCE) == 1
        eventually(lambda: near.stats().groups[0].under_way == 4)
    with there.get("x").stream(group="workers", details=True) as second:
        got = [second.get(PATIENCE) for _ in range(3)]
    assert [(d.msg, d.redelivered) for d in got if isinstance(d, Delivery)] == [
        (2, True),
        (3, True),
        (4, True),
    ]


def test_nobody_is_there_for_a_while(join: Joiner) -> None:
    """Jobs wait for the next member; `flush` waits as well, and says for whom."""
    _, there = join()
    node, here = join()
    near = here.get("x")
    with there.get("x").stream(group="workers") as stream:
        members(here, 1)
        near.send(0)
        assert stream.get(PATIENCE) == 0
    members(here, 0)
    for n in range(1, 4):
        near.send(n)
    with pytest.raises(NotReady, match="group 'workers' of exchange 'x'"):
        node.flush(0.1)
    got = list[int]()
    there.get("x").handler(got.append, group="workers")
    eventually(lambda: got == [1, 2, 3])
    node.flush(PATIENCE)


def test_what_nobody_takes_is_lost_and_told(join: Joiner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zexchange.groups.queue.PATIENCE", 0.2)
    _, there = join()
    node, here = join()
    near, told = here.get("x"), list[Any]()
    node.events.handler(lambda event: told.append(event) if isinstance(event, Lost) else None)
    with pytest.raises(RuntimeError, match="on purpose"):  # noqa: PT012
        with there.get("x").stream(group="workers") as stream:
            members(here, 1)
            for n in range(3):
                near.send(n)
            assert [stream.get(PATIENCE) for _ in range(2)] == [0, 1]
            eventually(lambda: near.stats().groups[0].under_way == 2)
            raise RuntimeError("on purpose")
    eventually(lambda: told)
    (lost,) = told
    assert (lost.exchange, lost.origin, lost.first, lost.last) == ("x", node.id, 2, 3)
    assert "no member" in lost.reason
    assert near.stats().groups == ()


def test_in_two_federations_a_member_gets_its_share_once(join: Any) -> None:
    _, there = join("one")
    join("two", registry=there)
    node, here = join("one")
    join("two", registry=here)
    got, other = list[int](), list[int]()
    there.get("x").handler(got.append, group="workers")
    here.get("x").handler(other.append, group="workers")
    eventually(lambda: len(here._groups()._index.on("x")) == 2)
    eventually(lambda: len(here._groups()._index.all()) == 3)
    for n in range(100):
        here.get("x").send(n)
    eventually(lambda: len(got) + len(other) == 100)
    node.close()
    for n in range(100, 200):
        here.get("x").send(n)
    eventually(lambda: len(set(got + other)) == 200)
    assert max(Counter(got + other).values()) <= 2
    assert len(got) > 100 - len(other)


def test_a_bound_on_members(join: Joiner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zexchange.net.node.observer.MAX_MEMBERS", 2)
    _, there = join()
    got = list[int]()
    for _ in range(2):
        there.get("x").handler(lambda msg: got.append(msg), group="workers")
    with pytest.raises(LimitReached, match="3 members"):
        there.get("x").handler(lambda msg: None, group="workers")
    assert len(there.get("x")) == 2
    _, here = join()
    members(here, 2)
    here.get("x").send(1)
    eventually(lambda: got == [1])


def workers(stack: ExitStack, file: Path, n: int, where: dict[str, Any], work: float) -> Any:
    """Start some workers that write to a file; return the function that starts one more."""

    def start() -> Program:
        worker = Program(WORKING, file, where, work)
        stack.callback(worker.finish, True)
        worker.expect("here")
        return worker

    return start, [start() for _ in range(n)]


def reached(by: str, stack: ExitStack) -> dict[str, Any]:
    """Return by what arguments of `federate` nodes meet: in a mesh, or at a hub of the stack."""
    if by == "mesh":
        return {}
    hub = Hub("fed", tcp(0))
    stack.callback(hub.close)
    return {"hub": hub.endpoint, "local": False}


@pytest.mark.leaves_files
@pytest.mark.parametrize("by", ["mesh", "hub"])
def test_workers_are_killed_at_any_moment(by: str, tmp_path: Path) -> None:
    """Every message is handled; those under way at a killed worker twice at most, and marked."""
    with ExitStack() as stack:
        where = reached(by, stack)
        file, dice = tmp_path / "handled", random.Random(1)
        here = Registry()
        node = stack.enter_context(federate("fed", registry=here, **where))
        start, there = workers(stack, file, 3, where, 0.001)
        members(here, 3)
        near, sent = here.get("x"), 0
        for _ in range(3):
            for _ in range(100):
                near.send(sent)
                sent += 1
            goal = len(handled(file)) + dice.randrange(60)
            eventually(lambda goal=goal: len(handled(file)) >= goal)
            there.pop(dice.randrange(3)).kill(signal.SIGKILL)
            there.append(start())
        eventually(lambda: {msg for _, msg, _ in handled(file)} == set(range(sent)))
        node.flush(PATIENCE)
        times = defaultdict[int, list[bool]](list)
        for _, msg, marked in handled(file):
            times[msg].append(marked)
        twice = {msg: marks for msg, marks in times.items() if len(marks) > 1}
        assert all(len(marks) == 2 and any(marks) for marks in twice.values()), twice
        assert len(twice) < 3 * 60


@pytest.mark.slow
@pytest.mark.leaves_files
def test_a_worker_that_stands_still_is_no_end(tmp_path: Path) -> None:
    """Others do what one that was stopped has; it comes back, and nothing is missing."""
    with ExitStack() as stack:
        file, here = tmp_path / "handled", Registry()
        node = stack.enter_context(federate("fed", registry=here))
        _, there = workers(stack, file, 2, {}, 0.001)
        members(here, 2)
        near = here.get("x")
        for n in range(50):
            near.send(n)
        eventually(lambda: len({who for who, _, _ in handled(file)}) == 2)
        there[0].kill(signal.SIGSTOP)
        for n in range(50, 200):
            near.send(n)
        eventually(lambda: {msg for _, msg, _ in handled(file)} >= set(range(200)))
        there[0].kill(signal.SIGCONT)
        members(here, 2)
        for n in range(200, 300):
            near.send(n)
        eventually(lambda: {msg for _, msg, _ in handled(file)} == set(range(300)))
        node.flush(PATIENCE)
        marks = defaultdict[int, list[bool]](list)
        for _, msg, marked in handled(file):
            marks[msg].append(marked)
        assert all(any(found) for found in marks.values() if len(found) > 1)


@pytest.mark.leaves_files
def test_all_workers_restart(tmp_path: Path) -> None:
    """While nobody is there, what is sent waits, and then is done."""
    with ExitStack() as stack:
        file, here = tmp_path / "handled", Registry()
        stack.enter_context(federate("fed", registry=here))
        start, there = workers(stack, file, 2, {}, 0.0)
        members(here, 2)
        near = here.get("x")
        for n in range(100):
            near.send(n)
        for worker in there:
            worker.kill()
        members(here, 0)
        for n in range(100, 200):
            near.send(n)
        start()
        eventually(lambda: {msg for _, msg, _ in handled(file)} == set(range(200)))


def test_a_slow_member_gets_less(join: Joiner) -> None:
    _, slow = join()
    _, quick = join()
    got = Counter[str]()

    def work(name: str, seconds: float) -> Any:
        def task(msg: int) -> None:
            time.sleep(seconds)
            got[name] += 1

        return task

    slow.get("x").handler(work("slow", 0.05), group="workers")
    quick.get("x").handler(work("quick", 0.0), group="workers")
    node, here = join()
    members(here, 2)
    for n in range(300):
        here.get("x").send(n)
    node.flush(PATIENCE)
    assert got.total() == 300
    assert got["slow"] < got["quick"] / 3


def test_a_sender_can_wait_for_members(join: Joiner) -> None:
    """A node with members counts as one that will receive, and the next message is for them."""
    node, here = join()
    with pytest.raises(NotReady):
        node.wait_subscribers("jobs.a", 1, 0)
    _, there = join()
    with there.match("jobs.**").stream(group="workers") as stream:
        node.wait_subscribers("jobs.a", 1, PATIENCE)
        here.get("jobs.a").send(1)
        assert stream.get(PATIENCE) == 1


def test_diagnose_shows_groups(join: Joiner) -> None:
    """Members at peers, before anything was sent, and what is under way after that."""
    node, here = join()
    _, there = join()
    with there.get("x").stream(group="workers", ahead=2):
        node.wait_subscribers("x", 1, PATIENCE)
        found = node.diagnose("x")
        assert found.healthy, found
        assert [(g.group, g.members, g.under_way) for g in found.picture.groups] == [
            ("workers", 1, 0)
        ]
        assert [peer.groups for peer in found.picture.peers] == [("workers",)]
        for n in range(5):
            here.get("x").send(n)
        (group,) = node.diagnose("x").picture.groups
        assert group.under_way in (1, 2)
        assert group.under_way + group.owed == 5
    eventually(lambda: "no member left: 5 messages" in node.diagnose("x").conclusion)


def test_what_a_member_sends_goes_before_its_report(join: Joiner) -> None:
    """If the process of a member ends, no result is lost of work that counts as done."""
    node, there = join()
    results, order = there.get("results"), list[str]()
    engine = node._engine
    assert engine is not None
    put = engine.outbound.put

    def watched(frame: bytes, flags: int) -> None:
        if b"results" in frame[:20]:
            order.append("result")
        elif kind_of(frame) == PROGRESS:
            order.append("progress")
        put(frame, flags)

    def work(msg: int) -> None:
        with engine.outbound._lock:  # as if another thread were sending: the result is queued
            results.send(msg)

    there.get("x").handler(work, group="workers")
    _, here = join()
    got = list[int]()
    here.get("results").handler(got.append)
    node.wait_subscribers("results")
    members(here, 1)
    engine.outbound.put = watched  # type: ignore[method-assign]
    here.get("x").send(1)
    eventually(lambda: "progress" in order)
    assert order.index("result") < order.index("progress")
    eventually(lambda: got == [1])


def test_a_node_that_is_left_in_good_order_reports_the_last_message(join: Joiner) -> None:
    """The block of `federate` may be left before that of the stream."""
    node, here = join()
    there, near = Registry(), here.get("x")
    with there.get("x").stream(group="workers") as stream, federate("fed", registry=there):
        members(here, 1)
        near.send(1)
        assert stream.get(PATIENCE) == 1
    node.flush(PATIENCE)
    assert near.stats().groups[0].redelivered == 0


def test_what_a_member_here_leaves_goes_to_a_member_there(join: Joiner) -> None:
    """It was not encoded, as no member was elsewhere when it was sent; what cannot be is lost."""
    _, there = join()
    node, here = join()
    near, told = here.get("x"), list[Any]()
    node.events.handler(lambda event: told.append(event) if isinstance(event, Lost) else None)
    got = list[object]()
    with pytest.raises(RuntimeError, match="on purpose"):  # noqa: PT012
        with near.stream(group="workers", ahead=4) as stream:
            for msg in (1, 2, object(), 3, 4, object(), 5):
                near.send(msg)
            assert stream.get(PATIENCE) == 1
            there.get("x").handler(got.append, group="workers")
            members(here, 2)
            eventually(lambda: 5 in got)
            raise RuntimeError("on purpose")
    eventually(lambda: sorted(map(str, got)) == ["1", "2", "3", "4", "5"])
    eventually(lambda: sum(lost.last - lost.first + 1 for lost in told) == 2)
    eventually(lambda: near.stats().groups[0].under_way == near.stats().groups[0].owed == 0)
    assert near.stats().groups[0].lost == 2


FORKING = """
import os
import threading
import time
import zexchange
exchange = zexchange.get_exchange("x")
file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
working = threading.Event()

def work(number):
    working.set()
    time.sleep(0.002)
    os.write(file, f"{os.getpid()} {number} 0\\n".encode())

exchange.handler(work, group="workers")
node = zexchange.federate("fed", **eval(sys.argv[2]))
print("here", flush=True)
working.wait()
child = os.fork()
exchange.send(10_000 + bool(child))
node.wait_peers(2, 60)
print("forked", flush=True)
if child:
    os.waitpid(child, 0)
    sys.stdin.read()
else:
    eventually(lambda: os.path.exists(sys.argv[1] + ".over"), 60)
    node.close()
    os._exit(0)
"""


@pytest.mark.leaves_files
@pytest.mark.parametrize("by", ["mesh", "hub"])
def test_a_fork_while_a_member_works(by: str, tmp_path: Path) -> None:
    """The child is a member of its own, and does nothing of what its parent has."""
    with ExitStack() as stack:
        where = reached(by, stack)
        file, here = tmp_path / "handled", Registry()
        node = stack.enter_context(federate("fed", registry=here, **where))
        worker = stack.enter_context(Program(FORKING, file, where))
        worker.expect("here")
        members(here, 1)
        for n in range(200):
            here.get("x").send(n)
        worker.expect("forked")
        worker.expect("forked")
        members(here, 2)
        for n in range(200, 600):
            here.get("x").send(n)
        node.flush(PATIENCE)
        eventually(lambda: len(handled(file)) == 602)
        assert sorted(msg for _, msg, _ in handled(file)) == [*range(600), 10_000, 10_001]
        assert len({who for who, _, _ in handled(file)}) == 2
        assert here.get("x").stats().groups[0].redelivered == 0
        Path(f"{file}.over").touch()


OWING = """
import os
import zexchange
exchange = zexchange.get_exchange("x")
node = zexchange.federate("fed", **eval(sys.argv[1]))
roster = zexchange.local.registry.default_registry._groups()
eventually(lambda: roster._index.on("x"), 60)
for n in range(100):
    exchange.send(n)
(group,) = exchange.stats().groups
assert group.owed > 50, group
child = os.fork()
who = 100 if child else 200
node.wait_peers(2, 60)
eventually(lambda: roster._index.on("x"), 60)
for n in range(100):
    exchange.send(who + n)
print("sent", flush=True)
node.flush(60)
print("done", flush=True)
if not child:
    node.close()
    os._exit(0)
sys.stdin.read()
os.waitpid(child, 0)
node.close()
"""


@pytest.mark.parametrize("by", ["mesh", "hub"])
def test_a_fork_while_messages_are_owed(by: str, join: Joiner) -> None:
    """The child sends what is its own, and the parent what it owed, each of them once."""
    with ExitStack() as stack:
        where = reached(by, stack)
        _, there = join(**where)
        far, got = there.get("x"), list[int]()
        stream = stack.enter_context(far.stream(group="workers", ahead=2))
        sender = stack.enter_context(Program(OWING, where))
        sender.expect("sent")
        sender.expect("sent")
        while len(got) < 300:
            got.append(stream.get(PATIENCE))
        stream.close()
        sender.expect("done")
        sender.expect("done")
        assert sorted(got) == list(range(300))

"""A forked child: fresh locks, no bridges, threads anew, observers revived at first use."""

import os
import threading

import pytest

from tests.support import eventually
from zexchange.local import Registry, to_thread

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")


class Task:
    def __init__(self):
        self.got = []

    def send(self, msg):
        self.got.append(msg)


class Watch:
    def __init__(self, registry):
        self.registry = registry
        self.revived = 0

    def exchange_added(self, exchange):
        pass

    def check_interest(self, keys, patterns, size):
        pass

    def interest_changed(self, key, wanted):
        pass

    def revive(self):
        self.revived += 1
        with self.registry._lock:  # held by nobody: a fresh one
            assert self.registry.get("x") is self.registry.find("x")


def in_child(check):
    """Run ``check`` in a forked child; what it raises fails the test."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = b"failed"
        try:
            threading.Timer(20, os._exit, (3,)).start()
            check()
            status = b"ok"
        except BaseException as error:
            status = repr(error).encode()
        finally:
            os.write(write, status)
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as result:
        answer = result.read()
    os.waitpid(pid, 0)
    assert answer == b"ok"


@pytest.fixture
def registry():
    return Registry()


USES = {
    "get": lambda r, e, s: r.get("x"),
    "get new": lambda r, e, s: r.get("new"),
    "find": lambda r, e, s: r.find("x"),
    "match": lambda r, e, s: r.match("*"),
    "attach": lambda r, e, s: e.attach(Task()),
    "detach": lambda r, e, s: e.detach(s),
    "handler": lambda r, e, s: e.handler(print),
    "send": lambda r, e, s: e.send(1),
    "view": lambda r, e, s: r.match("x").attach(Task()),
    "stream": lambda r, e, s: s.get(0),
}


@pytest.mark.parametrize("use", USES)
def test_the_first_use_in_a_child_revives_once(registry, use):
    """Any use does, reading a stream included; the second does not; the parent never."""
    exchange, watch = registry.get("x"), Watch(registry)
    stream = exchange.stream()
    registry.match("x").attach(Task())
    exchange.send(0)
    registry._observe(watch)

    def check():
        assert watch.revived == 0
        USES[use](registry, exchange, stream)
        assert watch.revived == 1
        registry.get("x").send(2)
        registry.match("*")
        assert watch.revived == 1
        assert registry._known is registry._exchanges

    in_child(check)
    exchange.send(1)
    assert watch.revived == 0


def test_tasks_stay_attached_and_bridges_do_not(registry):
    """The child's exchange serves the same tasks; the parent's bridge is not called there."""
    exchange, task, bridge = registry.get("x"), Task(), Task()
    exchange.attach(task)
    exchange._attach_bridge(bridge)
    exchange.send(1)

    def check():
        exchange.send(2)
        assert task.got == [1, 2]
        assert bridge.got == [1]
        assert registry._observe(Watch(registry)) == {"x"}

    in_child(check)
    exchange.send(3)
    assert bridge.got == [1, 3]


def test_locks_held_at_the_fork_hold_nobody_in_the_child(registry):
    """Those of registry, exchange, view, stream, generator: all are made anew."""

    def listen():
        while True:
            yield

    exchange, view, generator = registry.get("x"), registry.match("*"), listen()
    next(generator)
    stream = exchange.stream()
    exchange.attach(generator)
    registry.retain("x", 2)
    owners = [registry, exchange, view, stream._mailbox, exchange._table[(id(generator), False)]]
    locks = [owner._lock for owner in owners[:4]] + [owners[4].accept.__self__._turn.lock]
    held, done = threading.Event(), threading.Event()

    def hold():
        for lock in locks:
            lock.acquire()
        held.set()
        done.wait(30)
        for lock in reversed(locks):
            lock.release()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)

    def check():
        view.attach(Task())
        exchange.send(1)
        registry.get("new").send(2)
        assert stream.get(0) == 1
        exchange.attach(late := Task(), history=2)
        assert late.got == [1]

    try:
        in_child(check)
    finally:
        done.set()
        thread.join(10)


def test_to_thread_restarts_with_the_first_message(registry):
    """The parent's thread keeps what waited; the child's own serves what comes there."""
    task = Task()
    threaded = to_thread(task)
    exchange = registry.get("x")
    exchange.attach(threaded)
    exchange.send(1)
    until_served(task, 1)

    def check():
        exchange.send(2)
        threaded.close(10)
        assert task.got == [1, 2]

    in_child(check)
    threaded.close(10)
    assert task.got == [1]


def until_served(task, n):
    eventually(lambda: len(task.got) >= n)

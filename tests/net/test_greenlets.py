"""Programs whose threads are greenlets: gevent and eventlet, patched before or after the import."""

import os
import select

import pytest

from tests.support import Program
from zexchange import Registry, federate
from zexchange.net.transport.polling import Poller, Waker, new_poll

pytestmark = pytest.mark.sockets

PATCHED = {
    "gevent": "from gevent import monkey, spawn; monkey.patch_all()",
    "eventlet": "import eventlet; from eventlet import spawn; eventlet.monkey_patch()",
    "eventlet's select": (
        "import eventlet; from eventlet import spawn; eventlet.monkey_patch(thread=False)"
    ),
}

ECHOED = """
import time, zexchange
back, ticks = zexchange.get_exchange("back").stream(), []

def tick():
    while True:
        ticks.append(None)
        time.sleep(0.001)

def read():
    for n, msg in back:
        got.append((n, len(msg)))
        if len(got) == 60:
            return

got = []
spawn(tick)
with zexchange.federate("fed", replay_bytes=4 << 20) as node:
    node.wait_subscribers("x", 1, 60)
    reader = spawn(read)
    before = len(ticks)
    for n in range(60):  # four times the window: it waits
        zexchange.get_exchange("x").send((n, bytes(n * 10_000)))
    node.flush(60)
    (reader.get if hasattr(reader, "get") else reader.wait)()
    assert got == [(n, n * 10_000) for n in range(60)], got
    assert len(ticks) > before
    back.close()
print("all", flush=True)
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("when", ["before the import", "after it"])
@pytest.mark.parametrize("library", PATCHED)
def test_greenlets_are_one_channel_with_threads(library: str, when: str) -> None:
    """Small and large messages go both ways, and other greenlets run while one waits."""
    pytest.importorskip(library.partition("'")[0])
    patch = PATCHED[library]
    source = (
        f"{patch}\n{ECHOED}"
        if when == "before the import"
        else f"import zexchange\n{patch}\n{ECHOED}"
    )
    start = (
        f"import os; os.execv(sys.executable, [sys.executable, '-W', 'ignore', '-c', {source!r}])"
    )
    registry = Registry()
    back = registry.get("back")
    registry.get("x").handler(back.send)
    with federate("fed", registry=registry), Program(start) as program:
        program.expect("all")
        assert program.end() == 0


def test_half_patched_is_refused_at_once() -> None:
    """Real threads with gevent's queues would wait for ever: `federate` says what to patch."""
    pytest.importorskip("gevent")
    source = """
from gevent import monkey; monkey.patch_all(thread=False)
import zexchange
try:
    zexchange.federate("fed")
except RuntimeError as error:
    print(error, flush=True)
"""
    with Program(source) as program:
        assert "without thread=False" in program.line()


def test_select_stands_in_for_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells the same descriptors, forgets one, and takes a negative time for no end."""
    monkeypatch.delattr(select, "poll")
    ours, other = os.pipe()
    poll = new_poll()
    poll.register(ours, select.POLLIN)
    assert poll.poll(0) == []
    poll.register(other, select.POLLOUT)
    assert poll.poll(-1.0) == [(other, select.POLLOUT)]
    os.write(other, b"!")
    assert poll.poll(1000) == [(ours, select.POLLIN), (other, select.POLLOUT)]
    poll.unregister(other)
    assert poll.poll(1000) == [(ours, select.POLLIN)]
    for fd in (ours, other):
        os.close(fd)


def test_a_poller_waits_without_epoll_and_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with eventlet: for a waker, for some seconds at most."""
    monkeypatch.delattr(select, "epoll", raising=False)
    monkeypatch.delattr(select, "poll")
    poller, waker = Poller(), Waker()
    poller.watch(waker.fd)
    assert not poller.wait(0.0)
    waker.wake()
    assert poller.wait(60.0) == [(waker.fd, select.POLLIN)]
    waker.clear()
    assert not poller.wait(0.0)
    poller.close()
    waker.close()

"""The end of a program: what was sent and handed on at the last moment is delivered, or told."""

import subprocess
import sys

import pytest

from tests.support import PATIENCE, patience
from zexchange import Registry, federate
from zexchange.net.node.process import TooLate

pytestmark = pytest.mark.sockets

HANDLERS = """
import atexit
x = None
atexit.register(lambda: x.send("before the import"))
import zexchange
x = zexchange.get_exchange("status")
atexit.register(lambda: x.send("before the node"))
node = zexchange.federate("fleet")
atexit.register(lambda: x.send("after it"))
node.wait_subscribers("status", 1, 60)
x.send("running")
"""
THREADS = """
import sys, threading, zexchange
x = zexchange.get_exchange("log")
gate = threading.Event()
class Writer:
    def send(self, msg):
        gate.wait()
        zexchange.get_exchange("written").send(msg)
x.attach(zexchange.to_thread(Writer()))
node = zexchange.federate("fleet")
node.wait_subscribers("written", 1, 60)
for n in range(300):
    x.send(n)
threading.Timer(0.1, gate.set).start()
"""


def ended(source: str) -> str:
    """Run a program to its end; return what it has said."""
    done = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        timeout=patience(2 * PATIENCE),
        check=True,
    )
    return done.stderr


def test_handlers_of_the_end_are_heard() -> None:
    """All that were registered after the import; of one before it, a line says why it is not."""
    registry = Registry()
    with federate("fleet", registry=registry), registry.get("status").record() as heard:
        said = ended(HANDLERS)
    assert heard == ["running", "after it", "before the node"]
    assert said.count("'status'") == 1
    assert "import zexchange" in said


def test_threads_hand_on_what_they_have_before_the_node_closes() -> None:
    """What a task on a thread of its own has still to send, others get."""
    registry = Registry()
    with federate("fleet", registry=registry), registry.get("written").record() as heard:
        assert ended(THREADS) == ""
    assert heard == list(range(300))


def test_after_the_end_of_a_node_the_first_message_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once; it is no bridge that anybody counts on."""
    exchange = Registry().get("x")
    exchange._resize_ring()
    exchange._attach_bridge(TooLate("x"))
    exchange.send(1)
    exchange.send(2)
    assert exchange.stats().bridges == 0
    assert caplog.text.count("'x'") == 1

"""`run`: until the process is told to end, then a clean close."""

import asyncio
import signal
import threading

import pytest

from tests.support import Program, eventually
from zexchange import PeerLeft, Registry, federate

pytestmark = pytest.mark.sockets

THREADS = """
import zexchange
with zexchange.federate("fed") as node:
    zexchange.get_exchange("asked").handler(lambda msg: zexchange.get_exchange("told").send(msg))
    print("here")
    node.run()
    print("over", node)
"""
LOOP = """
import asyncio, zexchange
async def main():
    async with zexchange.federate("fed") as node:
        zexchange.get_exchange("asked").handler(lambda m: zexchange.get_exchange("told").send(m))
        print("here")
        await node.run()
        print("over", node.node)
asyncio.run(main())
"""


@pytest.mark.parametrize("source", [THREADS, LOOP], ids=["threads", "loop"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(source: str, number: signal.Signals) -> None:
    """Handlers are called until then; it says goodbye, and the program goes on to its end."""
    registry, left = Registry(), list[str]()
    with federate("fed", registry=registry) as node, registry.get("told").record() as told:
        node.events.handler(lambda e: left.append(e.reason) if isinstance(e, PeerLeft) else None)
        with Program(source) as program:
            program.expect("here")
            node.wait_subscribers("asked", 1)
            registry.get("asked").send(1)
            eventually(lambda: told == [1])
            program.kill(number)
            program.expect("over <Node 'fed' closed>")
            assert program.end() == 0
        eventually(lambda: left == ["bye"])


def test_it_returns_where_another_thread_closes_the_node() -> None:
    """And has the signals do what they did before."""
    before = signal.getsignal(signal.SIGTERM)
    node = federate("fed", registry=Registry())
    thread = threading.Timer(0.1, node.close)
    thread.start()
    node.run()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before


def test_only_the_main_thread_takes_signals() -> None:
    """And only where nothing else is held up."""
    errors: list[str] = []

    def attempt(run: object) -> None:
        try:
            run()  # type: ignore[operator]
        except RuntimeError as error:
            errors.append(str(error))

    async def here() -> None:
        attempt(node.run)

    with federate("fed", registry=Registry()) as node:
        asyncio.run(here())
        thread = threading.Thread(target=attempt, args=(node.run,))
        thread.start()
        thread.join()
    assert "event loop" in errors[0]
    assert "main thread" in errors[1]

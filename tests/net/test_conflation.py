"""Conflated exchanges in real processes, of which one is stopped, in a mesh and by a hub."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.net.conftest import Joiner
from tests.support import Program, eventually, programs, tcp
from zexchange.net.hub.hub import Hub

pytestmark = pytest.mark.sockets

VIEWER = """
import zexchange
node = zexchange.federate("fed", **eval(sys.argv[1]))
zexchange.get_exchange("camera").handler(lambda message: print(message[0]))
node.wait_peers(2, 60)
node.wait_ready(60)
print("ready")
sys.stdin.readline()
for counts in node.stats().received.values():
    print(counts.received, counts.conflated, counts.lost)
sys.stdin.read()
"""
FRAME = bytes(640 * 480 * 3)
STOPPED = 400


@pytest.fixture(params=["mesh", "hub"])
def way(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Return the arguments by which nodes meet."""
    if request.param == "mesh":
        yield {}
        return
    with ExitStack() as stack:
        hub = Hub("fed", tcp(0))
        stack.callback(hub.close)
        yield {"hub": hub.endpoint, "local": False}


def test_a_stopped_viewer_gets_the_newest_frame_first(join: Joiner, way: dict[str, Any]) -> None:
    """The sender never waits, the other viewer goes on, and the sums are right at each end."""
    node, registry = join(conflate=["camera"], **way)
    camera = registry.get("camera")
    with programs(VIEWER, [(repr(way),), (repr(way),)]) as (healthy, stopped):
        for viewer in (healthy, stopped):
            viewer.expect("ready")
        node.wait_subscribers("camera", 2, 60)
        camera.send((0, FRAME))
        for viewer in (healthy, stopped):
            viewer.expect("0")
        node.flush(60)  # nothing is under way
        stopped.kill(signal.SIGSTOP)
        stat = Path(f"/proc/{stopped.pid}/stat")
        eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
        for number in range(1, STOPPED):
            camera.send((number, FRAME))
            if number % 10 == 0:
                node.wait_ready(60)  # lets other threads run
        seen = until(healthy, STOPPED - 1)
        assert seen == sorted(set(seen))
        assert node.stats().waited == 0
        assert node.stats().kept == 0  # the one that is the newest is all that there is
        stopped.kill(signal.SIGCONT)
        assert until(stopped, STOPPED - 1) == [STOPPED - 1]
        node.flush(60)
        for viewer in (healthy, stopped):
            viewer.say()
            received, conflated, lost = map(int, viewer.line().split())
            assert (received + conflated, lost) == (STOPPED, 0)
        passed = [peer.conflated for peer in node.stats().sent_to.values()]
        assert sorted(passed) == sorted([STOPPED - len(seen) - 1, STOPPED - 2])


def until(viewer: Program, last: int) -> list[int]:
    """Return the numbers that a viewer prints up to one."""
    numbers = [int(viewer.line())]
    while numbers[-1] != last:
        numbers.append(int(viewer.line()))
    return numbers

"""Conflated exchanges in real processes, of which one is stopped, in a mesh and by a hub."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.net.conftest import Joiner
from tests.net.keyedhubs import Huber, behind, carried
from tests.net.keyrings import Keyrings, everything, hear, raw, say
from tests.support import Program, eventually, programs, tcp
from zexchange import to_call
from zexchange.net.hub.hub import Hub
from zexchange.protocol.wire.data import ready_topic, topic
from zexchange.protocol.wire.messages import CONFLATES, Replay, Welcome

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


@pytest.mark.parametrize("way", ["mesh", "hub"])
def test_keys_and_conflated_exchanges(
    way: str, join: Joiner, keyrings: Keyrings, keyed_hub: Huber
) -> None:
    """A peer that may not subscribe gets no offer, and so nothing; the others get the newest."""
    permissions = '[south]\nsubscribe = ["open"]'
    camera: dict[str, Any] = {"conflate": ["**"]}
    if way == "mesh":
        keyrings.friends("north", "south", "west")
        keyrings.permit("north", permissions)
        node, here = join(keys=keyrings("north"), listen=tcp(0), local=False, **camera)
        where: dict[str, Any] = {"peers": node.endpoints, "local": False}
        _, there = join(keys=keyrings("south"), **where)
        _, other = join(keys=keyrings("west"), **where)
    else:
        carried(keyrings, "north", "south", "west", permissions=permissions)
        hub = keyed_hub()
        node, here = behind(hub, join, keyrings, "north", **camera)
        _, there = behind(hub, join, keyrings, "south")
        _, other = behind(hub, join, keyrings, "west")
    got, all_of_it = list[object](), list[object]()
    there.match("**").attach(to_call(got.append), names=True)
    other.match("**").attach(to_call(all_of_it.append), names=True)
    node.wait_subscribers("open", 2, 60)
    node.wait_subscribers("secret", 1, 60)
    for number in range(200):
        here.get("secret").send(number)
        here.get("open").send(number)
    node.flush(60)
    eventually(lambda: ("secret", 199) in all_of_it and ("open", 199) in all_of_it)
    eventually(lambda: ("open", 199) in got)
    assert {name for name, _ in got} == {"open"}  # type: ignore[misc,attr-defined]


def test_a_claim_of_what_may_not_be_heard_gives_nothing(join: Joiner, keyrings: Keyrings) -> None:
    """Whatever a peer knows of an exchange: it is sent neither an offer nor a message."""
    keyrings.friends("north", "south", "west")
    keyrings.permit("north", '[south]\nsubscribe = ["open"]')
    node, here = join(keys=keyrings("north"), listen=tcp(0), local=False, conflate=["**"])
    _, other = join(keys=keyrings("west"), peers=node.endpoints, local=False)
    other.match("**").attach(to_call(lambda message: None))
    node.wait_subscribers("secret", 1, 60)
    with raw(node, keyrings("south")) as thief:
        control, data = thief.control(), thief.data()
        say(control, replace(thief.hello("open", "secret"), features=(CONFLATES,)))
        assert isinstance(hear(control), Welcome)
        for name in ("open", "secret"):
            data.send(b"\x01" + topic(name))
        data.send(b"\x01" + ready_topic(thief.id, 1))
        node.wait_subscribers("open", 2, 60)
        for name in ("open", "secret"):
            here.get(name).send(f"in {name}")
        said = list[bytes]()

        def answered() -> bool:
            for name in ("secret", "open"):
                say(control, Replay(thief.id, name, 1, 1))
            said.extend(everything(data))
            while control.poll(50):
                said.append(control.recv_multipart()[0])
            return b"in open" in b"".join(said)

        eventually(answered)
        eventually(lambda: answered() and any(topic("open") in frame for frame in said))
    assert b"secret" not in b"".join(said)

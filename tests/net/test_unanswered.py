"""Addresses that a program was given, and where nobody answers: nothing about them is silent."""

import asyncio
import logging
import socket
from collections.abc import Callable

import pytest

from tests.net.conftest import Joiner
from tests.net.keyrings import Keyrings
from tests.net.test_async_node import mute_listener
from tests.net.test_hub import three_ports
from tests.support import Program, eventually, free_ports, tcp
from zexchange import Node, NotReady
from zexchange.local.process.logs import log
from zexchange.net.hub.hub import Hub
from zexchange.net.transport import dns as lookups

pytestmark = pytest.mark.sockets
SOON = 0.05
Waits = Callable[[Node], None]


def asynchronously(node: Node) -> None:
    asyncio.run(node.aio.wait_ready(SOON))


def asynchronous_flush(node: Node) -> None:
    asyncio.run(node.aio.flush(SOON))


WAITS: list[Waits] = [
    lambda node: node.wait_ready(SOON),
    lambda node: node.flush(SOON),
    lambda node: node.wait_peers(1, SOON),
    lambda node: node.wait_subscribers("x", 1, SOON),
    asynchronously,
    asynchronous_flush,
]


def reason(wait: Waits, node: Node) -> str:
    with pytest.raises(NotReady) as failed:
        wait(node)
    return str(failed.value)


def nobody() -> str:
    """Return an address where nothing listens."""
    return tcp(free_ports()[0])


@pytest.mark.parametrize("way", ["peers", "hub"])
def test_every_wait_names_where_nobody_answers(join: Joiner, way: str) -> None:
    """With the reason; `wait_ready` and `flush` do not return as if all were well."""
    where = nobody()
    node, _ = join(**{way: [where]}, local=False)
    for wait in WAITS:
        said = reason(wait, node)
        assert f"{where} has not answered: nothing listens there" in said, said


def test_each_address_is_named_with_its_own_reason(join: Joiner) -> None:
    """What is mute, what refuses us, and where nothing is, all in one error."""
    other, _ = join("another", listen=tcp(0), local=False)
    nowhere = nobody()
    with mute_listener() as mute:
        node, _ = join(peers=[nowhere, mute, *other.endpoints], local=False, join_timeout=0.0)
        eventually(lambda: "it refuses us (federation" in reason(WAITS[0], node))
        eventually(lambda: f"{mute} has not answered: something listens" in reason(WAITS[1], node))
        assert f"{nowhere} has not answered: nothing listens there" in reason(WAITS[2], node)


def test_joining_does_not_wait_and_warns_after_the_time_to_join(
    join: Joiner, caplog: pytest.LogCaptureFixture
) -> None:
    """Once for each address, with the reason, and not before."""
    caplog.set_level(logging.WARNING, "zexchange")
    one, two = nobody(), nobody()
    join(peers=[one], hub=two, local=False, join_timeout=0.5)
    eventually(lambda: two in caplog.text)
    log.flush()
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"federation 'fed': the peer {one} has not answered: nothing listens there",
        f"federation 'fed': the hub {two} has not answered: nothing listens there",
    ]


def test_a_short_program_says_at_its_end_who_was_missing(
    join: Joiner, caplog: pytest.LogCaptureFixture
) -> None:
    """It ends before the time to join is over, and does not wait for who is not there."""
    caplog.set_level(logging.WARNING, "zexchange")
    where = nobody()
    node, registry = join(peers=[where], local=False, join_timeout=3600)
    registry.get("x").send(1)
    node.close(3600)
    assert caplog.text.count(f"{where} has not answered: nothing listens there") == 1


def test_who_answers_in_time_is_not_spoken_of(
    join: Joiner, caplog: pytest.LogCaptureFixture
) -> None:
    """A peer that starts later, but before the time is over, is nobody's business."""
    caplog.set_level(logging.WARNING, "zexchange")
    port, data = free_ports()
    node, _ = join(peers=[tcp(port)], local=False, join_timeout=3600)
    join(listen=[tcp(port), tcp(data)], local=False)
    node.wait_ready()
    node.close()
    assert caplog.text == ""


def test_waits_wait_for_who_comes_later(join: Joiner) -> None:
    """And only until it has answered once: that it is away again is as it always was."""
    port, data = free_ports()
    node, registry = join(peers=[tcp(port)], local=False)
    registry.get("x").handler(print)
    reason(WAITS[0], node)
    with Program(LATER, tcp(port), tcp(data)) as later:
        node.wait_ready()
        node.flush()
        later.kill()
        eventually(lambda: not node.peers)
    node.wait_ready()
    node.flush()


LATER = """
import sys, zexchange
with zexchange.federate("fed", listen=sys.argv[1:3], local=False):
    sys.stdin.readline()
"""


@pytest.mark.parametrize("keys", [False, True])
def test_ones_own_address_has_answered(join: Joiner, keyrings: Keyrings, keys: bool) -> None:
    """One list of addresses may be everybody's: one's own is not waited for."""
    port, _ = free_ports()
    more = {"keys": keyrings("north")} if keys else {"insecure": True}
    node, _ = join(listen=f"tcp://0.0.0.0:{port}", peers=[tcp(port)], local=False, **more)
    node.wait_ready()
    node.flush()


def test_a_name_without_an_address_says_so(join: Joiner, monkeypatch: pytest.MonkeyPatch) -> None:
    """For peers, which are dialled when it has one, and for hubs."""

    def unknown(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(lookups.socket, "getaddrinfo", unknown)
    for way in ("peers", "hub"):
        where = "tcp://nobody.invalid:7400"
        arguments = {"listen": tcp(0), "insecure": True, way: [where]}
        node, _ = join(**arguments, local=False, join_timeout=0.0)
        said = f"{where} has not answered: cannot resolve the name: Name or service not known"
        eventually(lambda n=node, s=said: s in reason(WAITS[0], n))
        node.close()


def test_what_stands_in_the_way_of_keys_is_said(join: Joiner, keyrings: Keyrings) -> None:
    """A program without keys names what it would have to have."""
    node, _ = join(keys=keyrings("north"), listen=tcp(0), local=False)
    plain, _ = join(peers=node.endpoints, local=False, join_timeout=0.0)
    eventually(lambda: "it has keys: join with keys, too" in reason(WAITS[0], plain))


def test_a_forked_child_waits_for_nobody_that_it_was_not_given() -> None:
    """Its parent's address, which it dials by itself, may be gone."""
    with Program(FORKS) as program:
        assert program.line() == "ready"


FORKS = """
import os, sys, time, zexchange
node = zexchange.federate("fed", listen="tcp://127.0.0.1:0", local=False)
read, write = os.pipe()
if os.fork() == 0:
    os.read(read, 1)
    node.wait_ready(20)
    node.flush(20)
    print("ready", flush=True)
    os._exit(0)
node.close()
os.write(write, b"x")
os.wait()
"""


def test_a_hub_that_dies_is_told_and_that_it_is_back(
    join: Joiner, caplog: pytest.LogCaptureFixture
) -> None:
    """By a warning each, once."""
    caplog.set_level(logging.WARNING, "zexchange")
    listen = three_ports()
    first = Hub("fed", listen)
    join(hub=listen, local=False)
    first.close()
    eventually(lambda: f"the hub {listen} does not answer any more" in caplog.text)
    second = Hub("fed", listen)
    try:
        eventually(lambda: f"the hub {listen} answers again" in caplog.text)
        assert len(caplog.records) == 2
    finally:
        second.close()


def test_a_hub_names_the_hubs_that_it_misses(caplog: pytest.LogCaptureFixture) -> None:
    """As nodes do, so that two hubs that do not find each other are not two federations."""
    caplog.set_level(logging.WARNING, "zexchange")
    where = nobody()
    hub = Hub("fed", tcp(0), peers=[where])
    try:
        eventually(lambda: f"federation 'fed': the hub {where} has not answered" in caplog.text)
    finally:
        hub.close()

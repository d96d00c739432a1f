"""`zexchange doctor` between separate hosts: each trouble for real, and its cause named."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support import ROOT

from .network import CONTROL, Host, hosts
from .there import There

pytestmark = [pytest.mark.slow, pytest.mark.sockets, pytest.mark.leaves_files]
DOCTORS = CONTROL + 100

LISTENER = """
import json, os, resource, time, zexchange
how = json.loads(sys.argv[1])
exec(how.pop("first", ""))
then = how.pop("then", "")
def work(msg):
    print("got", flush=True)
    time.sleep(how_long)
how_long = how.pop("slow", 0)
zexchange.get_exchange("prices").handler(work)
with zexchange.federate("lab", insecure=True, local=False, label="program", **how) as node:
    exec(then)
    print("up", flush=True)
    sys.stdin.read()
"""
SENDER = """
import zexchange
with zexchange.federate("lab", insecure=True, local=False, label="sender",
                        listen=sys.argv[1], peers=sys.argv[2:]) as node:
    node.wait_subscribers("prices", 1)
    zexchange.get_exchange("prices").send(1)
    print("sent", flush=True)
    sys.stdin.read()
"""


@contextmanager
def program(host: Host, **how: Any) -> Iterator[There]:
    """Run a node on a host that listens to ``prices``."""
    how = {"listen": f"tcp://0.0.0.0:{CONTROL}", **how}
    there = There(host, LISTENER, json.dumps(how))
    try:
        there.expect("up")
        yield there
    finally:
        there.kill(signal.SIGCONT)
        there.finish(failed=True)


def doctor(host: Host, *options: str, listen: str = f"tcp://0.0.0.0:{DOCTORS}") -> dict[str, Any]:
    """Run the doctor on a host; return what it says, and its exit status as ``status``."""
    command = [sys.executable, "-m", "zexchange.cli", "doctor", "--federation", "lab"]
    said = ["--insecure", "--patience", "1.2", "--listen", listen, *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    if os.environ.get("ZEXCHANGE_SHOW"):
        subprocess.run([*host.inside, *command, *said], cwd=ROOT, env=environment, check=False)
    done = subprocess.run(
        [*host.inside, *command, *said, "--json"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if found["healthy"] else 1)
    return found


@pytest.fixture
def pair() -> Iterator[tuple[Host, Host]]:
    with hosts(2) as (one, two):
        yield one, two


Pair = tuple[Host, Host]


def test_all_is_well(pair: Pair) -> None:
    """Two hosts that hear each other are healthy, and who listens is said."""
    one, two = pair
    with program(one):
        found = doctor(two, "--peer", one.endpoint(), "prices")
    assert found["healthy"]
    assert "1 of them listens to 'prices'" in found["conclusion"]
    (peer,) = found["peers"]
    assert abs(peer["clock"]) < 1.0
    assert peer["room"] > 10


def test_nothing_listens(pair: Pair) -> None:
    """A host without the program refuses."""
    one, two = pair
    found = doctor(two, "--peer", one.endpoint())
    assert f"Nothing listens at {one.endpoint()}" in found["conclusion"]


def test_no_route(pair: Pair) -> None:
    """A host that there is no way to."""
    one, two = pair
    two.no_route(one)
    found = doctor(two, "--peer", one.endpoint())
    assert f"There is no way to {one.endpoint()}" in found["conclusion"]


def test_a_firewall_drops(pair: Pair) -> None:
    """A host whose firewall drops what comes in."""
    one, two = pair
    one.shut(CONTROL, CONTROL + 1)
    with program(one):
        found = doctor(two, "--peer", one.endpoint())
    assert "does not answer" in found["conclusion"]
    assert "firewall" in found["conclusion"]


def test_a_name_without_address(pair: Pair) -> None:
    """A name that nobody knows; who is there beside it is still shown."""
    one, two = pair
    with program(one):
        found = doctor(two, "--peer", "tcp://nowhere.example:7400", "--peer", one.endpoint())
    assert "The name 'nowhere.example' cannot be resolved" in found["conclusion"]
    assert len(found["peers"]) == 1


def test_another_program(pair: Pair) -> None:
    """A web server has the port."""
    one, two = pair
    web = There(
        one,
        f"import http.server; print('up', flush=True); http.server.test("
        f"http.server.SimpleHTTPRequestHandler, port={CONTROL})",
    )
    try:
        web.expect("up")
        web.line()
        found = doctor(two, "--peer", one.endpoint())
    finally:
        web.finish(failed=True)
    assert f"What listens at {one.endpoint()} is not zexchange" in found["conclusion"]


def test_the_data_port_is_named(pair: Pair) -> None:
    """The port for data was given in place of the one for control."""
    one, two = pair
    with program(one):
        found = doctor(two, "--peer", one.endpoint(CONTROL + 1))
    assert "is a node's data port" in found["conclusion"]


def test_another_federation(pair: Pair) -> None:
    """The other program has another federation name, which is said."""
    one, two = pair
    with program(one):
        found = doctor(two, "--peer", one.endpoint(), "--federation", "lap")
    assert "another federation" in found["conclusion"]
    assert "'lab', not 'lap'" in found["conclusion"]


def test_another_version(pair: Pair) -> None:
    """The other program speaks a later version only."""
    one, two = pair
    later = "from zexchange.protocol.session import peering; peering.VERSIONS = (9, 9)"
    with program(one, first=later):
        found = doctor(two, "--peer", one.endpoint())
    assert "another version" in found["conclusion"]


def test_it_cannot_reach_us(pair: Pair) -> None:
    """Our own firewall keeps peers out that we reach."""
    one, two = pair
    two.shut(DOCTORS, DOCTORS + 1)
    with program(one):
        found = doctor(two, "--peer", one.endpoint())
    assert "it cannot reach us" in found["conclusion"]
    (peer,) = found["peers"]
    assert (peer["answers"], peer["heard"]) == (True, True)
    assert (peer["calls"], peer["hears"]) == (False, False)


def test_it_is_told_to_dial_itself(pair: Pair) -> None:
    """We listen on loopback and dial another host."""
    one, two = pair
    with program(one):
        found = doctor(two, "--peer", one.endpoint(), listen=f"tcp://127.0.0.1:{DOCTORS}")
    assert "is told to dial tcp://127.0.0.1" in found["conclusion"]


def test_it_advertises_what_cannot_be_reached(pair: Pair) -> None:
    """The other program advertises an address that nobody has."""
    one, two = pair
    with program(one, advertise="tcp://10.92.0.77:7400"):
        found = doctor(two, "--peer", one.endpoint())
    assert "receive them from tcp://10.92.0.77:7401" in found["conclusion"]


def test_its_data_port_is_shut(pair: Pair) -> None:
    """The other host lets in control and not data."""
    one, two = pair
    one.shut(CONTROL + 1)
    with program(one):
        found = doctor(two, "--peer", one.endpoint())
    assert "do not hear its messages" in found["conclusion"]
    assert f"{one.address}:{CONTROL + 1}" in found["conclusion"]


def test_our_data_port_is_shut(pair: Pair) -> None:
    """We let in control and not data."""
    one, two = pair
    two.shut(DOCTORS + 1)
    with program(one):
        found = doctor(two, "--peer", one.endpoint())
    assert "does not hear our messages" in found["conclusion"]
    assert f"{DOCTORS + 1}" in found["conclusion"]


def test_a_stopped_process(pair: Pair) -> None:
    """The other process is stopped: its kernel accepts connections, and nothing is said."""
    one, two = pair
    with program(one) as there:
        there.kill(signal.SIGSTOP)
        found = doctor(two, "--peer", one.endpoint())
    assert "stopped" in found["conclusion"]


def test_a_task_holds_it_up(pair: Pair) -> None:
    """A slow task of a peer is seen from another host."""
    one, two = pair
    with program(one, slow=30) as there:
        sender = There(two, SENDER, f"tcp://0.0.0.0:{CONTROL}", one.endpoint())
        try:
            sender.expect("sent")
            there.expect("got")
            found = doctor(two, "--peer", one.endpoint())
        finally:
            sender.finish(failed=True)
    assert "A task has held" in found["conclusion"]
    assert "program@host1" in found["conclusion"]


def test_too_few_descriptors(pair: Pair) -> None:
    """A peer that has hardly any descriptors left is named, with what to do."""
    one, two = pair
    few = (
        "most = len(os.listdir('/proc/self/fd')) + 20\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))"
    )
    with program(one, then=few):
        found = doctor(two, "--peer", one.endpoint())
    assert "ulimit -n" in found["conclusion"]
    assert "program@host1" in found["conclusion"]


def test_clocks_that_differ(pair: Pair) -> None:
    """A clock that is wrong is noted, and nothing is wrong with messages."""
    one, two = pair
    late = (
        "from zexchange.net.engine.environment import NodeEnvironment\n"
        "NodeEnvironment.time = lambda self: time.time() - 90"
    )
    with program(one, first=late):
        found = doctor(two, "--peer", one.endpoint())
    assert found["healthy"]
    assert any("90.0 s behind ours" in finding["text"] for finding in found["findings"])


def test_the_port_is_the_programs_own(pair: Pair) -> None:
    """Run beside the program with its own options, the doctor looks from other ports."""
    one, two = pair
    listen = f"tcp://0.0.0.0:{CONTROL}"
    with program(one), program(two, peers=[one.endpoint()]):
        found = doctor(two, "--peer", one.endpoint(), "prices", listen=listen)
    assert found["healthy"]
    assert len(found["peers"]) == 2


def test_nobody_on_the_local_network(pair: Pair) -> None:
    """Asked for and empty, the local network is named."""
    _, two = pair
    found = doctor(two, "--peer", "lan")
    assert "nobody on the local network" in found["conclusion"]

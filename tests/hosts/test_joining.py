"""Five hosts that share nothing but a switch find each other, in every way that there is.

Two processes run on each. The books say afterwards that everybody had everything.
"""

from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.laboratory import Lab
from tests.faults.processes import Receiver, Sender

from .network import CONTROL, Host, hosts

pytestmark = [pytest.mark.slow, pytest.mark.sockets, pytest.mark.leaves_files]
SECOND = CONTROL + 100
"""The port of the second process of a host."""
Peers = Callable[[Host, list[Host]], list[str]]


def static(here: Host, everybody: list[Host]) -> list[str]:
    return [host.endpoint() for host in everybody if host is not here]


def seed(here: Host, everybody: list[Host]) -> list[str]:
    return [everybody[0].endpoint()]


def name(here: Host, everybody: list[Host]) -> list[str]:
    """One name, of which our own address is one, too."""
    here.name("everybody.example", *(host.address for host in everybody))
    return [f"tcp://everybody.example:{CONTROL}"]


def lan(here: Host, everybody: list[Host]) -> list[str]:
    pytest.importorskip("zeroconf")
    return ["lan"]


def sender(lab: Lab, host: Host, n: int, peers: list[str], **more: Any) -> Sender:
    listen = f"tcp://0.0.0.0:{CONTROL}"
    far = {"listen": listen, "peers": peers, "insecure": True, "stall": 60}
    return lab.sender(f"s{host.number}", n, inside=host.inside, **{**far, **more})


def receiver(lab: Lab, host: Host, peers: list[str], **more: Any) -> Receiver:
    listen = f"tcp://0.0.0.0:{SECOND}"
    far = {"listen": listen, "peers": peers, "insecure": True}
    return lab.receiver(f"r{host.number}", inside=host.inside, **{**far, **more})


def populate(lab: Lab, everybody: list[Host], peers: Peers) -> None:
    """Have a receiver on every host, and a sender on each."""
    for host in everybody:
        receiver(lab, host, peers(host, everybody))
        sender(lab, host, len(everybody), peers(host, everybody))
    lab.ready()


def send_some(lab: Lab, total: int = 2_000) -> None:
    lab.start(lab.senders[0].sent + total)
    lab.at(lab.senders[0].sent)


@pytest.mark.parametrize("peers", [static, seed, name, lan])
def test_everybody_finds_everybody(lab: Lab, peers: Peers) -> None:
    """By addresses, a common peer, a name that stands for all, or multicast: one channel."""
    with hosts(5) as everybody:
        populate(lab, everybody, peers)
        send_some(lab)
        figures = lab.settle()
        assert figures.received == figures.sent >= 5 * 5 * 2_000
        assert all(r.ask(events={"event": "PeerLeft"}) == 0 for r in lab.receivers)


def test_addresses_of_ipv6(lab: Lab) -> None:
    """Hosts meet over IPv6 alone, listening on every address of either family."""
    with hosts(2) as (one, two):
        for host in (one, two):
            host.ip("address", "del", f"{host.address}/24", "dev", "eth0")
        peers = [f"tcp://[{one.address6}]:{CONTROL}"]
        receiver(lab, two, peers, listen=f"tcp://[::]:{SECOND}", local=False)
        sender(lab, one, 1, [], listen=f"tcp://[::]:{CONTROL}", local=False)
        lab.ready()
        send_some(lab)
        lab.settle()


def test_a_name_of_both_families(lab: Lab) -> None:
    """A name with an IPv6 address where nobody listens leads to the IPv4 address all the same."""
    with hosts(2) as (one, two):
        two.name("one.example", one.address6, one.address)
        receiver(lab, two, [f"tcp://one.example:{CONTROL}"], local=False)
        sender(lab, one, 1, [], local=False)
        lab.ready()
        send_some(lab)
        lab.settle()


def test_a_name_that_changes(lab: Lab) -> None:
    """A name is asked again: who is added to it later is found, by nobody else's help."""
    with hosts(3) as (one, two, three):
        for host in (one, two):
            host.name("service.example", one.address)
        peers = [f"tcp://service.example:{CONTROL}"]
        receiver(lab, two, peers, local=False)
        sender(lab, one, 1, [], local=False)
        lab.ready()
        send_some(lab)
        sender(lab, three, 1, [], local=False)
        two.name("service.example", one.address, three.address)
        lab.ready()
        send_some(lab)
        lab.settle()


def test_what_is_advertised_is_dialled(lab: Lab) -> None:
    """A name in `advertise=` is looked up by whoever hears it, off the threads that matter."""
    with hosts(2) as (one, two):
        two.name("gateway.example", one.address)
        receiver(lab, two, [one.endpoint()], local=False)
        told = f"tcp://gateway.example:{CONTROL}"
        sender(lab, one, 1, [], local=False, advertise=told)
        lab.ready()
        send_some(lab)
        lab.settle()


def test_hosts_on_two_networks(lab: Lab) -> None:
    """Who was introduced by an address that it cannot reach is found from the other side."""
    with hosts(3) as (seed, both, far):
        # A second network on the same switch: `both` and the seed are on either.
        for host in (seed, both, far):
            host.ip("address", "add", f"10.93.0.{host.number}/24", "dev", "eth0")
        far.ip("address", "del", f"{far.address}/24", "dev", "eth0")
        receiver(lab, seed, [], local=False)
        lab.receivers[0].ready()
        sender(lab, both, 2, [seed.endpoint(SECOND)], local=False)
        receiver(lab, far, [f"tcp://10.93.0.{seed.number}:{SECOND}"], local=False)
        lab.ready()
        send_some(lab)
        lab.settle()

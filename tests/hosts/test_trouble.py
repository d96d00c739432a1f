"""What happens to hosts: links that fail, addresses that change, firewalls, a pulled plug.

The rules for sums and order are those of the fault laboratory.
"""

import time

import pytest

from tests.faults.laboratory import Lab

from .network import CONTROL, hosts
from .test_joining import SECOND, populate, receiver, seed, send_some, sender

pytestmark = [pytest.mark.slow, pytest.mark.sockets, pytest.mark.leaves_files]


def under_load(lab: Lab, total: int = 8_000) -> None:
    """Have every sender send so much more, and return somewhere in the midst of it."""
    begun = lab.senders[0].sent
    at = begun + total // 4
    lab.start(at, begun + total)
    lab.at(at)


def finish(lab: Lab) -> None:
    lab.healed()
    lab.at(lab.senders[0].sent)
    lab.settle()


def test_a_link_goes_down_and_up(lab: Lab) -> None:
    """One host of five loses its link for a while under load: everybody has everything."""
    with hosts(5) as everybody:
        populate(lab, everybody, seed)
        under_load(lab, 3_000)
        everybody[2].link("down")
        time.sleep(1.0)
        everybody[2].link("up")
        finish(lab)


def test_the_introducer_is_not_needed(lab: Lab) -> None:
    """Nodes that were introduced by a seed go on when its host is gone, and welcome it back."""
    with hosts(3) as (one, two, three):
        for host in (two, three):
            receiver(lab, host, [one.endpoint()], local=False)
        lab.receiver(
            "seed",
            inside=one.inside,
            listen=f"tcp://0.0.0.0:{CONTROL}",
            local=False,
            insecure=True,
        )
        sender(lab, three, 3, [one.endpoint()], local=False, stall=1)
        lab.ready()
        one.link("down")
        lab.may_lose = {("seed", "s3")}
        under_load(lab, 2_000)
        lab.healed(but=lab.receivers[2])
        one.link("up")
        finish(lab)


def test_an_address_changes(lab: Lab) -> None:
    """A host gets another address under load; its peers find it there, with nothing lost."""
    with hosts(3) as (one, two, three):
        for host in (one, two, three):
            receiver(lab, host, [one.endpoint(SECOND)], local=False)
        for host in (one, two, three):
            sender(lab, host, 3, [one.endpoint(SECOND)], local=False)
        lab.ready()
        under_load(lab)
        two.move(22)
        finish(lab)
        send_some(lab)
        lab.settle()


def test_a_host_that_nobody_can_dial(lab: Lab) -> None:
    """Who reaches others and cannot be reached hears them; it speaks once it can be reached."""
    with hosts(3) as (one, two, three):
        three.shut(CONTROL, SECOND + 1)
        for host in (one, two):
            receiver(lab, host, [one.endpoint(SECOND)], local=False)
        for known in lab.receivers:  # before they know of one that never confirms
            known.ready()
        sender(lab, one, 3, [one.endpoint(SECOND)], local=False)
        receiver(lab, three, [one.endpoint(SECOND)], local=False)
        lab.ready()
        send_some(lab)
        lab.settle()
        sender(lab, three, 3, [one.endpoint(SECOND)], local=False)
        three.open()
        lab.ready()
        send_some(lab)
        lab.settle()


def test_only_the_data_port_is_shut(lab: Lab) -> None:
    """A closed data port keeps a node from being heard, until it is opened."""
    with hosts(2) as (one, two):
        two.shut(CONTROL + 1)
        receiver(lab, one, [], local=False)
        lab.receivers[0].ready()  # for nobody yet: it would wait for who is not heard
        sender(lab, two, 1, [one.endpoint(SECOND)], local=False)
        lab.receivers[0].ask(event={"event": "PeerJoined"})
        two.open()
        lab.ready()
        send_some(lab)
        lab.settle()

"""A network cable is pulled and put back, between namespaces that share nothing else."""

import time
from typing import Any

import pytest

from .laboratory import BULKY, Lab
from .places import Island, islands

pytestmark = [pytest.mark.sockets, pytest.mark.leaves_files]
MIB = 1 << 20


def bench(lab: Lab, here: Island, there: Island, **federate: Any) -> None:
    """Have sender ``a`` on one island; sender ``b`` and both receivers on the other.

    The rendezvous directory would be shared: only the cable leads from one to the other.
    """
    port = [f"tcp://{here.address}:7400", f"tcp://{here.address}:7401"]
    far: dict[str, Any] = {"insecure": True, "local": False, "inside": there.inside}
    listen = [f"tcp://{there.address}:7400", f"tcp://{there.address}:7401"]
    lab.sender("a", 2, listen=port, inside=here.inside, insecure=True, local=False, **federate)
    lab.sender("b", 2, listen=listen, peers=port[:1], stall=60, **far)
    for label in ("one", "two"):
        mine = f"tcp://{there.address}:0"
        lab.receiver(label, peers=[port[0], listen[0]], listen=mine, **far)
    lab.ready()


def test_a_link_goes_down(lab: Lab) -> None:
    """A link between network namespaces is down for a while; the sender waits."""
    with islands() as ends:
        bench(lab, *ends, stall=60, recovery_timeout=30)
        for _ in range(2 if lab.full else 1):
            begun = lab.senders[0].sent
            at = begun + lab.chance.randint(1, 5_000)
            end = at + lab.size(10_000, 100_000)
            lab.start(at, end)
            lab.at(at)
            cable = lab.chance.choice(ends)
            cable.link("down")
            time.sleep(lab.chance.uniform(0.2, 6.0 if lab.full else 0.6))
            cable.link("up")
            lab.healed()
            lab.at(end)
        lab.settle()
        lab.end(by_force=not lab.full)


@pytest.mark.slow
def test_a_link_goes_down_until_overrun(lab: Lab) -> None:
    """A link between network namespaces is down until the sender has gone on without."""
    with islands() as ends:
        bench(lab, *ends, stall=1.5, replay_bytes=16 * MIB, sizes=BULKY)
        lab.may_lose = {("one", "a"), ("two", "a")}
        at = lab.chance.randint(1, 500)
        end = at + lab.size(3_000, 8_000)
        lab.start(at, end)
        lab.at(at)
        cable = lab.chance.choice(ends)
        cable.link("down")
        lab.at(end)
        cable.link("up")
        lab.healed()
        assert lab.settle().lost
        lab.end(by_force=not lab.full)

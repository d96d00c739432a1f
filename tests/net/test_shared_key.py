"""Several nodes with one key directory, as workers of one program are configured."""

import random
from collections.abc import Callable

import pytest

from tests.net.conftest import collect
from tests.net.keyedhubs import Huber, carried
from tests.net.keyrings import Keyrings
from tests.support import eventually
from zexchange import Node, Registry, federate

pytestmark = pytest.mark.sockets
WORKERS = 4
several = pytest.mark.parametrize("rounds", [3, pytest.param(12, marks=pytest.mark.slow)])


def all_hear_all(workers: list[tuple[Node, Registry]], room: str) -> None:
    """Have each send, and check that each got it of all others, once."""
    heard = [collect(registry, room) for _, registry in workers]
    for node, _ in workers:
        node.wait_subscribers(room, len(workers) - 1, 30)
    for at, (node, registry) in enumerate(workers):
        registry.get(room).send(at)
        node.flush(30)
    for got in heard:
        eventually(lambda got=got: sorted(got) == list(range(len(workers))))


def come_and_go(join_one: Callable[[], tuple[Node, Registry]], seed: int, rounds: int) -> None:
    """Have workers join, talk, and leave in any order, some of them to come back."""
    chance = random.Random(seed)
    workers: list[tuple[Node, Registry]] = []
    try:
        for number in range(rounds):
            while len(workers) < WORKERS:
                workers.append(join_one())
            all_hear_all(workers, f"full{number}")
            chance.shuffle(workers)
            for _ in range(chance.randint(1, WORKERS - 1)):
                workers.pop()[0].close()
            if len(workers) > 1:
                all_hear_all(workers, f"left{number}")
    finally:
        for node, _ in workers:
            node.close()


def worker(**arguments: object) -> tuple[Node, Registry]:
    registry = Registry()
    return federate("fed", registry=registry, **arguments), registry  # type: ignore[arg-type]


@several
def test_workers_with_one_key_meet_on_one_host(keyrings: Keyrings, rounds: int) -> None:
    """Each hears each other, however they come and go: none takes another's sockets away."""
    keys = keyrings("shop")
    come_and_go(lambda: worker(keys=keys, listen="tcp://127.0.0.1:0"), 1, rounds)


@several
def test_workers_with_one_key_meet_behind_a_hub(
    keyed_hub: Huber, keyrings: Keyrings, rounds: int
) -> None:
    """Each hears each other through a hub that knows their one key."""
    carried(keyrings, "shop")
    hub = keyed_hub()
    come_and_go(lambda: worker(keys=keyrings("shop"), hub=hub.endpoint, local=False), 2, rounds)

"""The disk with the rendezvous directory is full: who joins is told, who has joined goes on."""

import time
from pathlib import Path

import pytest

from tests.support import Program

from .laboratory import Lab
from .places import disk

pytestmark = [pytest.mark.sockets, pytest.mark.leaves_files]

NEWCOMER = """
import zexchange
try:
    with zexchange.federate("faults") as node:
        node.wait_peers(int(sys.argv[1]), 20)
        print("joined", flush=True)
except zexchange.Unreachable as error:
    print("refused:", str(error).replace(chr(10), " "), flush=True)
"""


@pytest.mark.slow
def test_the_disk_fills_up(lab: Lab, rendezvous: Path) -> None:
    """The rendezvous directory's disk fills up under load, and a newcomer comes then."""
    files = lab.chance.choice([40, 10_000])
    with disk(rendezvous, lab.chance.choice([128, 512]) << 10, files) as full:
        for label in "ab":
            lab.sender(label, 2, stall=60)
        for label in ("one", "two"):
            lab.receiver(label)
        lab.ready()
        total = lab.size(12_000, 150_000)
        at = lab.chance.randint(1, total // 2)
        lab.start(at, total)
        lab.at(at)
        what: dict[str, bool] = lab.chance.choice(
            [{}, {"with_bytes": False}, {"with_files": False}]
        )
        full.fill(**what)
        with Program(NEWCOMER, 4) as newcomer:
            said = newcomer.line()
            assert said == "joined" or said.startswith("refused: "), said
            assert said == "joined" or "No space left" in said, said
        if lab.full:
            # Whose file is taken away cannot put it back now, and does so later.
            for path in rendezvous.rglob("*.node"):
                path.unlink()
            full.fill(**what)
            time.sleep(lab.chance.uniform(0, 12.0))
        lab.healed()
        lab.at(total)
        full.empty()
        with Program(NEWCOMER, 4) as newcomer:
            newcomer.expect("joined")
        lab.settle()
        lab.end(by_force=not lab.full)


def test_the_disk_is_full_from_the_start(rendezvous: Path) -> None:
    """On a disk that is full already, joining says clearly what is wrong."""
    ways: tuple[dict[str, bool], ...] = ({"with_files": False}, {"with_bytes": False}, {})
    for what in ways:
        with disk(rendezvous, 64 << 10, 100) as full:
            full.fill(**what)
            with Program(NEWCOMER, 0) as newcomer:
                said = newcomer.line()
                assert said.startswith("refused: "), said
                assert "No space left" in said

"""Every test of a fault gets a laboratory, and its figures are kept for the table.

By default each fault is tried once, at a size that fits into the normal run.
``$ZEXCHANGE_FAULTS=20`` tries each with 20 seeds at full size, and soaks for
``$ZEXCHANGE_FAULTS_MINUTES``; ``python -m tests.faults`` sets them.
"""

import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict
from typing import Any

import pytest

from tests.faults.laboratory import Lab
from tests.relay import Relay
from tests.support import free_ports, tcp

RUNS = int(os.environ.get("ZEXCHANGE_FAULTS", "0"))
FIRST = int(os.environ.get("ZEXCHANGE_FAULTS_SEED", "1"))
MINUTES = float(os.environ.get("ZEXCHANGE_FAULTS_MINUTES", "1"))
Behind = Callable[[], tuple[list[Relay], dict[str, Any]]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "lab" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(FIRST, FIRST + max(1, RUNS)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if RUNS and "lab" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(600 + 60 * MINUTES))


@pytest.fixture
def lab(
    request: pytest.FixtureRequest,
    seed: int,
    rendezvous: object,
    record_property: Callable[[str, object], None],
) -> Iterator[Lab]:
    """A laboratory whose processes have all ended when the test has."""
    bench = Lab(seed, RUNS > 0)
    try:
        yield bench
    finally:
        record_property("figures", asdict(bench.figures))
        record_property("fault", request.function.__doc__.split("\n")[0])
        outcome = getattr(request.node, "outcome", "failed")
        record_property("outcome", outcome)
        # In the normal run nobody has the time to see them leave.
        bench.end(by_force=outcome != "passed" or not bench.full)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: Any) -> Generator[None, Any, Any]:
    """Remember what became of the test itself: after a failure processes end by force."""
    report = yield
    if report.when == "call":
        item.outcome = report.outcome
    return report


@pytest.fixture
def behind() -> Iterator[Behind]:
    """Return relays for control and data, and the arguments of a node behind them."""
    relays: list[Relay] = []

    def make() -> tuple[list[Relay], dict[str, Any]]:
        pair = [Relay(port) for port in free_ports()]
        relays.extend(pair)
        return pair, {
            "listen": [tcp(relay._target) for relay in pair],
            "advertise": [tcp(relay.port) for relay in pair],
        }

    yield make
    for relay in relays:
        relay.close()

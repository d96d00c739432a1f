"""Every test here gets a laboratory whose processes are gone when the test is."""

from collections.abc import Iterator

import pytest

from tests.faults.laboratory import Lab


@pytest.fixture
def lab(rendezvous: object) -> Iterator[Lab]:
    """A laboratory of small size."""
    bench = Lab(seed=1, full=False)
    try:
        yield bench
    finally:
        bench.end(by_force=True)

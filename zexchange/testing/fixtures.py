"""Fixtures for pytest: ``pytest_plugins = ["zexchange.testing.fixtures"]`` in a ``conftest.py``."""

from collections.abc import Iterator

import pytest

from ..local.registry import Registry
from .network import Network


@pytest.fixture
def registry() -> Registry:
    """A fresh registry: nothing is attached to its exchanges."""
    return Registry()


@pytest.fixture
def network() -> Iterator[Network]:
    """A network without nodes, the same in every run."""
    with Network() as network:
        yield network

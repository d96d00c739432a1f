"""Fixtures for every test: a rendezvous directory of its own, and nothing left behind.

In every test a handler on the root logger asks for everything, whatever is logged.
"""

import gc
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests import locks
from tests.relay import Relay
from tests.support import EXAMPLES, PROFILE, be_patient, eventually, examples, free_ports

free_ports()  # the file that keeps other runs off our ports is open from here on
for name in EXAMPLES:
    hypothesis.settings.register_profile(
        name, deadline=None, print_blob=True, max_examples=examples()
    )
hypothesis.settings.load_profile(PROFILE)
locks.watch()


def pytest_collection_finish() -> None:
    """Spare the collector what stays: many tests have it collect all, and there are 3000 tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def asking() -> Iterator[locks.Asking]:
    """Nothing is logged with a lock held, and a handler may ask for whatever there is."""
    handler, logger = locks.Asking(), logging.getLogger("zexchange")
    level = logger.level
    logging.getLogger().addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logging.getLogger().removeHandler(handler)
    logger.setLevel(level)
    assert not handler.wrong


@pytest.fixture
def rendezvous(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A rendezvous directory that no other test shares; the path is short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="zxt-", dir="/tmp"))
    monkeypatch.setenv("ZEXCHANGE_DIR", str(path))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(autouse=True)
def patient(request: pytest.FixtureRequest) -> Iterator[None]:
    """Give a node's waits the time that they need on a machine that is busy with other things."""
    if request.node.get_closest_marker("sockets") is None:
        yield
        return
    undo = be_patient()
    yield
    undo()


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests with sockets leave no thread, no file and no descriptor behind."""
    if request.node.get_closest_marker("sockets") is None:
        yield
        return
    path = request.getfixturevalue("rendezvous")
    from zexchange.net.transport.sockets import start_collector

    start_collector()  # one for all contexts, and for good
    before = len(os.listdir("/proc/self/fd"))
    yield
    from zexchange.net.node import lifetime

    assert not lifetime.nodes, "a node was left open"
    eventually(lambda: not [t for t in threading.enumerate() if t.name.startswith("zexchange-")])
    if request.node.get_closest_marker("leaves_files") is None:
        assert not [f for f in path.rglob("*") if not f.is_dir()]
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)


@pytest.fixture
def relays() -> Iterator[tuple[Relay, Relay]]:
    """Two relays, for a control and a data port; name it before `join`, to outlive the nodes."""
    pair = tuple(Relay(port) for port in free_ports())
    yield pair  # type: ignore[misc]
    for relay in pair:
        relay.close()

"""A fork waits for what another thread imports: its child would wait for that import for ever."""

import threading

import pytest

from tests.support import PATIENCE, Program
from zexchange import imports

HALF = """
import os, signal, threading, zexchange
begun, forking = threading.Event(), threading.Event()

class Finder:
    def find_spec(self, name, path, target=None):  # called with the lock of the module held
        if name == sys.argv[1] and not begun.is_set():
            begun.set()
            forking.wait(300)

def use():
    USES[sys.argv[2]]()

def join():
    with zexchange.federate("fed") as node:
        node.wait_ready(300)

def doctor():
    zexchange.federate("fed").diagnose()

def types():
    from zexchange.local.typed import codecs
    codecs._Msgspec(int)

def numpy():
    from zexchange.protocol.codec import ndarrays
    assert ndarrays._numpy() is not None

def pool():
    from zexchange.net.doctor.reach import reach_all
    reach_all(["tcp://127.0.0.1:1"])

USES = {use.__name__: use for use in (join, doctor, types, numpy, pool)}
if sys.argv[2] == "doctor":
    node = zexchange.federate("fed")
sys.meta_path.insert(0, Finder())
thread = threading.Thread(target=use)
thread.start()
begun.wait(300)
os.register_at_fork(before=forking.set)  # called before any that waits
pid = os.fork()
if not pid:
    signal.alarm(int(sys.argv[3]))
    use()
    os._exit(0)
thread.join()
print("child", os.waitpid(pid, 0)[1], flush=True)
os._exit(0)
"""


@pytest.mark.leaves_files
@pytest.mark.sockets
@pytest.mark.parametrize(
    ("module", "use"),
    [
        ("zexchange.net.engine.engine", "join"),
        ("zmq", "join"),
        ("zexchange.net.doctor.collect", "doctor"),
        ("concurrent.futures.thread", "pool"),
        ("msgspec", "types"),
        ("numpy", "numpy"),
    ],
)
def test_a_child_does_not_wait_for_an_import_of_its_parents_thread(
    module: str, use: str, rendezvous: object
) -> None:
    """The thread is in the middle of it when the program forks."""
    with Program(HALF, module, use, int(2 * PATIENCE)) as program:
        program.expect("child 0", 4 * PATIENCE)


def test_a_fork_waits_no_longer_than_for_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An import may wait for the thread that forks; and a child has a lock of its own."""
    monkeypatch.setattr(imports, "IMPORT_TIMEOUT", 0.05)
    taken, over = threading.Event(), threading.Event()

    def hold() -> None:
        with imports.lock:
            taken.set()
            over.wait(PATIENCE)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(PATIENCE)
    held = imports.lock
    try:
        imports._before_fork()
        imports._after_fork()
        assert imports.lock is not held
        assert imports.lock.acquire(blocking=False)
        imports.lock.release()
    finally:
        imports.lock = held
        over.set()
        thread.join()

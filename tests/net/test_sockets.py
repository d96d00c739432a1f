"""What threads wait with: a waker never writes into a file of others; handlers that are gone."""

import os
import threading
from functools import partial

import pytest

from tests.support import Program
from zexchange.net.transport import polling
from zexchange.net.transport.polling import Poller, Waker

RECONNECTING = """
import time
import zmq
from relay import Relay
from zexchange.net.transport.sockets import Sockets, receive_parts
sockets = Sockets()
router, dealer = sockets.router(), sockets.dealer()
for socket in (router, dealer):
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
relay = Relay(router.bind_to_random_port("tcp://127.0.0.1"))
dealer.connect(f"tcp://127.0.0.1:{relay.port}")

def said():
    try:
        dealer.send(b"here", zmq.NOBLOCK)
    except zmq.Again:
        return False
    return router.poll(200)

for _ in range(8):
    eventually(said)
    while router.poll(0):
        route, _ = router.recv_multipart()
    for _ in range(500):
        router.send_multipart([route, b"one", b"two"])
    for n in range(10):
        assert dealer.poll(10_000)
        receive_parts(dealer)
    monitor = dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    relay.cut()
    assert monitor.poll(10_000)
    dealer.disable_monitor()
    try:
        while True:
            assert len(receive_parts(dealer)) == 2
    except zmq.Again:
        pass
relay.close()
sockets.destroy()
print("alive")
"""


@pytest.mark.sockets
def test_a_connection_that_is_replaced_between_two_parts_ends_no_process() -> None:
    """A dealer reads on, or has nothing more to read, when what it reads from was cut."""
    with Program(RECONNECTING) as program:
        program.expect("alive")


def test_a_waker_is_readable_until_cleared() -> None:
    """Waking twice is one wake-up, and clearing twice does not block."""
    waker = Waker()
    waker.wake()
    waker.wake()
    waker.clear()
    waker.clear()
    waker.close()


def test_waking_after_close_does_nothing() -> None:
    """Threads that come late wake nobody, and closing again closes nothing."""
    waker = Waker()
    waker.close()
    waker.wake()
    waker.close()


def test_a_wake_under_way_holds_up_the_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """A descriptor is not closed, and its number given away, between look and write."""
    where, name = (
        (polling, "eventfd_write") if hasattr(os, "eventfd_write") else (polling.os, "write")
    )
    waker, write, stolen = Waker(), getattr(where, name), []
    closing = threading.Thread(target=waker.close)

    def slow(fd: int, text: object) -> object:
        closing.start()
        closing.join(timeout=0.05)
        stolen.append(not closing.is_alive())
        return write(fd, text) if closing.is_alive() else 0

    monkeypatch.setattr(where, name, slow)
    waker.wake()
    closing.join()
    assert stolen == [False]


def test_a_handler_is_not_called_once_another_one_has_had_it_forgotten() -> None:
    """Both descriptors are ready in one turn: the first handler closes what the second reads."""
    poller, wakers, called = Poller(), (Waker(), Waker()), list[int]()

    def handle(n: int) -> None:
        called.append(n)
        poller.forget(wakers[1 - n].fd)

    for n, waker in enumerate(wakers):
        poller.watch(waker.fd, partial(handle, n))
        waker.wake()
    ready = poller.wait(10.0)
    assert {fd for fd, _ in ready} == {waker.fd for waker in wakers}
    poller.handle(ready)
    assert len(called) == 1
    poller.close()
    for waker in wakers:
        waker.close()

"""Calls of C functions that keep the interpreter's lock, with real sockets."""

import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import zmq

from tests.support import eventually
from zexchange.net.transport import native
from zexchange.net.transport.polling import Waker
from zexchange.net.transport.sockets import DO_NOT_WAIT

Pair = tuple[zmq.Socket[bytes], zmq.Socket[bytes]]
CALLS = 10_000
needs = pytest.mark.skipif(not native.KEPT, reason="pyzmq's library is not to be reached")


@pytest.fixture
def pair() -> Iterator[Pair]:
    with zmq.Context() as context:
        here, there = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        here.setsockopt(zmq.SNDHWM, 0)
        there.bind("inproc://there")
        here.connect("inproc://there")
        yield here, there
        here.close(linger=0)
        there.close(linger=0)


@pytest.mark.parametrize("size", [0, 1, 40, 100_000, native.KEPT_BYTES + 1])
def test_frames_are_what_was_sent(pair: Pair, size: int) -> None:
    """Also those with zeros in them, empty ones, and those that are left to pyzmq."""
    frame = bytes(n % 251 for n in range(size))
    send, receive = native.sender(pair[0]), native.receiver(pair[1])
    for _ in range(3):
        send(frame, DO_NOT_WAIT)
        pair[1].poll(10_000)
        assert receive(DO_NOT_WAIT) == frame


def test_nothing_to_receive_is_an_error_that_passes(pair: Pair) -> None:
    """The next frame is received as if nothing had been."""
    receive = native.receiver(pair[1])
    with pytest.raises(zmq.Again):
        receive(DO_NOT_WAIT)
    native.sender(pair[0])(b"x", DO_NOT_WAIT)
    pair[1].poll(10_000)
    assert receive(DO_NOT_WAIT) == b"x"


def test_parts_that_follow_are_seen(pair: Pair) -> None:
    """Pyzmq's calls and these are of one socket, and may take turns."""
    native.sender(pair[0])(b"first", DO_NOT_WAIT | zmq.SNDMORE)
    pair[0].send(b"second")
    pair[1].poll(10_000)
    assert native.receiver(pair[1])(DO_NOT_WAIT) == b"first"
    assert pair[1].getsockopt(zmq.RCVMORE)
    assert pair[1].recv() == b"second"


def test_other_errors_are_raised(pair: Pair) -> None:
    """A PUSH cannot receive."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        with pytest.raises(zmq.ZMQError) as raised:
            native.receiver(push)(DO_NOT_WAIT)
        assert raised.value.errno == zmq.ENOTSUP


def test_a_message_outlives_the_call_that_made_it(pair: Pair) -> None:
    """Nothing but the returned function refers to the memory that is received into."""
    receivers = [native.receiver(pair[1]) for _ in range(200)]
    held = [bytearray(64) for _ in range(10_000)]  # where freed memory would be used again
    send = native.sender(pair[0])
    for number, receive in enumerate(receivers):
        send(b"%d" % number * 20, DO_NOT_WAIT)
        pair[1].poll(10_000)
        assert receive(DO_NOT_WAIT) == b"%d" % number * 20
    assert not any(any(each) for each in held)


def lets_go(act: Callable[[], object]) -> bool:
    """Return whether another thread came to run meanwhile, which nothing but ``act`` lets."""
    interval = sys.getswitchinterval()
    gate, ran = threading.Lock(), threading.Event()
    gate.acquire()
    other = threading.Thread(target=lambda: (gate.acquire(), ran.set()))
    other.start()
    eventually(lambda: other.is_alive())
    sys.setswitchinterval(1000.0)
    try:
        gate.release()
        for _ in range(CALLS):
            act()
            if ran.is_set():
                return True
        return False
    finally:
        sys.setswitchinterval(interval)
        other.join()


@needs
def test_the_interpreter_s_lock_is_kept(pair: Pair) -> None:
    """No other thread runs during a send, a receive or a wake, and one does in a short sleep."""
    send, receive, waker = native.sender(pair[0]), native.receiver(pair[1]), Waker()

    def both() -> None:
        send(b"x" * 100, DO_NOT_WAIT)
        receive(DO_NOT_WAIT)
        waker.wake()

    assert not lets_go(both)
    assert lets_go(lambda: time.sleep(0.01))
    waker.close()


def test_without_pyzmq_s_library_its_own_calls_are_used(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on PyPy."""
    monkeypatch.setattr(native, "_libzmq", None)
    native.sender(pair[0])(b"x", DO_NOT_WAIT)
    pair[1].poll(10_000)
    assert native.receiver(pair[1])(DO_NOT_WAIT) == b"x"

"""C functions that are called without letting go of the interpreter's lock.

pyzmq releases that lock in each call, and so does `os.eventfd_write`. While another thread
computes, the caller gets it back only after the interpreter's switch interval, 5 ms, for a call
that takes a microsecond: none of these calls ever waits. `ctypes.PyDLL` keeps the lock. libzmq's
functions are those of the very library that pyzmq uses, because they are looked up through pyzmq's
extension module.

Where that module does not have them (PyPy, another build of pyzmq), `KEPT` is False and pyzmq's
calls are used. Everything works then, but a thread that computes delays messages.

A send takes 0.4 to 0.7 µs longer than pyzmq's, a receive 0.8 to 1.1 µs
(``benchmarks/step_cost.py``). Large frames are sent by pyzmq: meanwhile other threads go on.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import zmq
from zmq.backend import Socket as _Backend

KEPT_BYTES = 128 << 10
"""The largest frame that is sent with the lock kept: it is copied in some 10 µs."""
_MESSAGE_BYTES = 64
"""The size of ``zmq_msg_t`` (zmq.h of libzmq 4)."""


def _library() -> ctypes.PyDLL | None:
    """Return the library that pyzmq uses; None if its functions cannot be reached."""
    try:
        library = ctypes.PyDLL(sys.modules["zmq.backend.cython._zmq"].__file__)
        pointer, number, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
        library.zmq_send.argtypes = [pointer, ctypes.c_char_p, size, number]
        library.zmq_msg_recv.argtypes = [pointer, pointer, number]
        library.zmq_msg_data.argtypes = [pointer]
        library.zmq_msg_data.restype = pointer
        library.zmq_msg_init.argtypes = library.zmq_msg_close.argtypes = [pointer]
        library.zmq_errno.argtypes = []
    except (KeyError, AttributeError, OSError):
        return None
    return library


_libzmq = _library()
KEPT = _libzmq is not None
"""Whether frames are sent and received with the interpreter's lock kept."""


def _eventfd_write() -> Any:
    """Return libc's ``eventfd_write``; `os.eventfd_write`, if there is one, without that."""
    try:
        call = ctypes.PyDLL(None).eventfd_write
    except (AttributeError, OSError):
        return getattr(os, "eventfd_write", None)
    call.argtypes = [ctypes.c_int, ctypes.c_uint64]
    return call


eventfd_write = _eventfd_write()
"""Adds a value to an eventfd. None where there are no such descriptors."""


def sender(socket: "zmq.Socket[bytes]") -> Callable[[bytes, int], object]:
    """Return a function that sends one frame, which is copied, with ZeroMQ's flags.

    It must not be called once the socket is closed. Use it for sends that never wait.
    """
    unlocked = partial(_Backend.send, socket)
    if _libzmq is None:
        return unlocked
    call, where = _libzmq.zmq_send, ctypes.c_void_p(socket.underlying)

    def send(frame: bytes, flags: int) -> None:
        size = len(frame)
        # A call that a signal has interrupted is made again, and one that has failed says why: both
        # by pyzmq. `zmq_errno` could not tell: a signal handler may have sent something since.
        if size > KEPT_BYTES or call(where, frame, size, flags) < 0:
            unlocked(frame, flags)

    return send


def receiver(socket: "zmq.Socket[bytes]") -> Callable[[int], bytes]:
    """Return a function that receives one frame, given ZeroMQ's flags, as bytes.

    It must not be called once the socket is closed. Use it for receives that never wait; it raises
    `zmq.Again` if there is nothing.
    """
    if _libzmq is None:
        return partial(_Backend.recv, socket)
    return _receiver(_libzmq, socket, _Message())


class _Message(ctypes.c_char * _MESSAGE_BYTES):  # type: ignore[misc]
    """A message of libzmq, which is received into again and again."""

    def __init__(self) -> None:
        assert _libzmq is not None
        self.where = ctypes.c_void_p(ctypes.addressof(self))
        _libzmq.zmq_msg_init(self.where)

    def empty(self) -> None:
        """Release what was received last; libzmq would hold it until the next frame."""
        assert _libzmq is not None
        _libzmq.zmq_msg_close(self.where)
        _libzmq.zmq_msg_init(self.where)

    def __del__(self) -> None:
        """Release what was received last."""
        if _libzmq is not None:
            _libzmq.zmq_msg_close(self.where)


def _receiver(
    library: ctypes.PyDLL, socket: "zmq.Socket[bytes]", message: _Message
) -> Callable[[int], bytes]:
    call, data, copy = library.zmq_msg_recv, library.zmq_msg_data, ctypes.string_at
    empty, where = message.empty, message.where  # `empty` keeps the message alive
    pointer, error = ctypes.c_void_p(socket.underlying), library.zmq_errno
    unlocked = partial(_Backend.recv, socket)

    def receive(flags: int) -> bytes:
        size = call(where, pointer, flags)
        if size < 0:
            if error() == zmq.EAGAIN:
                raise zmq.Again
            return unlocked(flags)  # interrupted, or it says what is wrong
        frame = copy(data(where), size)
        if size > KEPT_BYTES:
            empty()
        return frame

    return receive

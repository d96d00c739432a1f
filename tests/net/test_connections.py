"""Cutting a connection by its descriptor, which may be another's by now."""

import os
import socket

import pytest

from zexchange.net.security.connections import (
    PER_KEY,
    Connections,
    address_of,
    alive,
    connection,
    cut,
)

pytestmark = pytest.mark.sockets


def test_a_connection_is_cut_and_its_descriptor_stays() -> None:
    """Both ends see the end; the descriptor is left to whose it is."""
    here, there = socket.socketpair()
    with here, there:
        found = connection(here.fileno())
        assert found
        cut(found)
        assert there.recv(1) == b""
        assert alive(found)


def test_what_has_taken_over_a_descriptor_is_left_alone() -> None:
    """Another socket, or something that is none, at the same number: untouched, nothing leaks."""
    here, there = socket.socketpair()
    found = connection(here.fileno())
    assert found
    number = here.fileno()
    other, end = socket.socketpair()
    reading, writing = os.pipe()
    before = len(os.listdir("/proc/self/fd"))
    with here, there, other, end:
        for source in (other.fileno(), writing):
            os.dup2(source, number)
            assert not alive(found)
            cut(found)
            assert len(os.listdir("/proc/self/fd")) == before
        other.sendall(b"x")
        assert end.recv(1) == b"x"
    os.close(reading)
    os.close(writing)
    cut(found)  # closed: nothing happens


def test_what_is_no_connection_has_no_address() -> None:
    """A number that has become a file's is an error, and no copy of it is left open."""
    reading, writing = os.pipe()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="non-socket"):
        address_of(reading)
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(reading)
    os.close(writing)


def test_connections_remembered_of_a_key_are_bounded() -> None:
    """Many connections of one key: the newest are remembered, and cut together."""
    known, pairs = Connections(), [socket.socketpair() for _ in range(PER_KEY + 1)]
    for one, _ in pairs:
        known.note(b"key", one.fileno())
    known.cut(b"key")
    known.cut(b"key")
    for _, end in pairs:
        end.setblocking(False)
    with pytest.raises(BlockingIOError):
        pairs[0][1].recv(1)
    assert all(end.recv(1) == b"" for _, end in pairs[1:])
    for one, end in pairs:
        one.close()
        end.close()


def test_connections_of_a_lesser_kind_are_cut_alone() -> None:
    """The others are remembered; the oldest is handed back where there are too many."""
    known, pairs = Connections(2), [socket.socketpair() for _ in range(3)]
    for kind, (one, end) in enumerate(pairs):
        surplus = known.note(b"node", one.fileno(), kind)
        assert surplus == (connection(pairs[0][0].fileno()) if kind == 2 else None)
        end.setblocking(False)
    known.cut(b"node", 2)
    assert pairs[1][1].recv(1) == b""
    with pytest.raises(BlockingIOError):
        pairs[2][1].recv(1)
    known.cut(b"node")
    assert pairs[2][1].recv(1) == b""
    for one, end in pairs:
        one.close()
        end.close()

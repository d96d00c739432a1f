"""What a timeout may be."""

import math

import pytest

from zexchange.local import Registry
from zexchange.seconds import seconds
from zexchange.testing import Network


def test_none_is_without_end():
    """As in the standard library; numbers are as they are."""
    assert seconds(None) == math.inf
    assert seconds(2) == 2
    assert seconds(0.5) == 0.5
    assert seconds(math.inf) == math.inf


@pytest.mark.parametrize("wrong", ["5", True, [1]])
def test_what_is_no_number_is_named(wrong):
    """With the argument, and with what was given."""
    with pytest.raises(TypeError, match=r"patience is a number of seconds or None, not"):
        seconds(wrong, "patience")


def test_what_cannot_be_compared_is_refused():
    """A wait until nan would be without end, or at an end, by chance."""
    with pytest.raises(ValueError, match="nan"):
        seconds(math.nan)


@pytest.mark.parametrize("endless", [None, math.inf, 1e300])
def test_every_wait_takes_none_and_infinity(endless):
    """Of a stream as of a node."""
    registry = Registry()
    with registry.get("x").stream() as stream:
        registry.get("x").send(1)
        assert stream.get(timeout=endless) == 1
    with Network() as network:
        one, _ = network.node("one"), network.node("two")
        one.wait_peers(1, timeout=endless)
        one.wait_ready(timeout=endless)
        one.flush(timeout=endless)
        one.close(timeout=endless)


@pytest.mark.parametrize("wait", ["wait_peers", "wait_ready", "flush", "close"])
def test_a_node_names_the_argument(wait):
    """Before it waits, or closes."""
    with Network() as network, pytest.raises(TypeError, match="timeout"):
        getattr(network.node("one"), wait)(timeout="soon")

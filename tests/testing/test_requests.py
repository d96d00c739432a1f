"""Requests in the simulated network: under loss, cuts and deaths each has one outcome."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import examples
from zexchange import (
    Exchange,
    ExchangeError,
    NoResponders,
    RequestFailed,
    RequestTimeout,
    ResponderLost,
)
from zexchange.testing import Network
from zexchange.testing.wire import NOTICED, REDIAL_MOST


def near_and_far(network: Network) -> tuple[Exchange[Any], Exchange[Any]]:
    """Return one exchange as two nodes have it."""
    near, far = network.node("near"), network.node("far")
    return near.registry.get("x"), far.registry.get("x")


def test_one_asks_and_one_answers() -> None:
    """A request lets things happen until its answer is there; time is simulated."""
    with Network() as network:
        near, far = near_and_far(network)
        with pytest.raises(NoResponders):
            near.request(1)
        far.responder(lambda msg: 2 * msg)
        network.settle()
        before = network.now
        assert near.request(4) == 8
        assert network.now - before < 0.1
        assert [reply.value for reply in near.request_all(5)] == [10]


def test_a_death_is_noticed_within_two_seconds() -> None:
    """A responder that dies while it works is lost within 2 s, in simulated time."""
    with Network() as network:
        near, far = near_and_far(network)

        def die(msg: object) -> None:
            network.kill("far")
            raise RuntimeError("nobody hears this")

        far.responder(die)
        network.settle()
        before = network.now
        with pytest.raises(ResponderLost):
            near.request(1, timeout=60)
        assert network.now - before < 2


def test_one_that_dies_ends_no_request_to_all() -> None:
    """It is waited for no longer, and the answers of the others are there."""
    with Network() as network:
        near, far = near_and_far(network)

        def answer(msg: int) -> int:
            network.kill("far")
            return 2 * msg

        far.responder(lambda msg: msg)
        network.node("other").registry.get("x").responder(answer)
        network.settle()
        network.stop("far")
        before = network.now
        assert [reply.value for reply in near.request_all(4, timeout=60)] == [8]
        assert network.now - before < 2


def test_a_connection_that_is_gone_is_noticed_at_once() -> None:
    """Where a proxy has ended, the asker need not wait for the silence: 0.3 s are enough."""
    with Network() as network:
        near, far = near_and_far(network)
        far.responder(lambda msg: network.refuse("far"))
        network.settle()
        before = network.now
        with pytest.raises(ResponderLost):
            near.request(1, timeout=60)
        assert network.now - before <= 0.5


def test_a_stopped_responder_times_out() -> None:
    """One that stands still may yet answer: the asker waits until its time is over."""
    with Network() as network:
        near, far = near_and_far(network)
        far.responder(lambda msg: msg)
        network.settle()
        network.stop("far")
        with pytest.raises(RequestTimeout):
            near.request(1, timeout=2)
        network.resume("far")
        network.until(lambda: near.registry._asking.late == 1)


@settings(max_examples=examples(30), deadline=None)
@given(
    st.integers(0, 1 << 30),
    st.lists(
        st.sampled_from(["ask", "ask all", "flicker", "cut", "heal", "kill", "detach", "attach"]),
        max_size=14,
    ),
    st.sampled_from([0.0, 0.2]),
)
def test_each_request_has_one_outcome(seed: int, steps: list[str], loss: float) -> None:
    """Whatever happens to connections and processes: an answer that fits, or a named error."""
    with Network(seed) as network:
        asker = network.node("asker")
        near = asker.registry.get("x")
        there = {name: network.node(name).registry.get("x") for name in ("one", "two")}
        attached = {name: far.responder(lambda msg: -msg) for name, far in there.items()}
        network.settle()
        network.faults(loss=loss, duplicate=loss, reorder=loss)
        for n, step in enumerate(steps, 1):
            if step == "ask":
                try:
                    assert near.request(n, timeout=3) == -n
                except (NoResponders, ResponderLost, RequestTimeout):
                    pass
            elif step == "ask all":
                try:
                    assert {reply.value for reply in near.request_all(n, timeout=3)} <= {-n}
                except RequestTimeout:
                    pass
            elif "one" in there:
                if step == "kill":
                    network.kill("one")
                    del there["one"]
                elif step == "detach" and "one" in attached:
                    there["one"].detach(attached.pop("one"))
                elif step == "attach" and "one" not in attached:
                    attached["one"] = there["one"].responder(lambda msg: -msg)
                elif step in ("flicker", "cut", "heal"):
                    getattr(network, step)("asker", "one")
            assert not len(near.registry._asking)
        network.faults()
        if "one" in there:
            network.heal("asker", "one")
        # Until both ends have noticed that a connection was cut, the answer may go into the old
        # one, while the question comes by the new one: it is sent again, and the answer is not.
        network.advance(NOTICED + REDIAL_MOST)
        network.settle()
        assert near.request(99, timeout=60, wait=60) == -99


def test_errors_are_of_one_root() -> None:
    """What a request raises is an `ExchangeError`, and what a caller would expect besides."""
    for error, base in (
        (NoResponders, RuntimeError),
        (ResponderLost, RuntimeError),
        (RequestFailed, RuntimeError),
        (RequestTimeout, TimeoutError),
    ):
        assert issubclass(error, ExchangeError)
        assert issubclass(error, base)

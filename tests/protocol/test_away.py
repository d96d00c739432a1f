"""Messages to nodes that are away for long, or lose each other often: single cases."""

import interleaved
import pytest
from machines import Machine
from network import Network

from zexchange.protocol.delivery.departed import REMEMBERED
from zexchange.protocol.interest.interest import MAX_PROMISES


def two() -> tuple[Network, Machine, Machine]:
    """Return two nodes that know each other."""
    network = Network()
    one = Machine(network, "tcp://n0")
    other = Machine(network, "tcp://n1", ("tcp://n0",))
    network.pass_time(3.0)
    return network, one, other


def two_after_a_message() -> tuple[Network, Machine, Machine]:
    """Return two nodes, the second of which has had a message of the first."""
    network, one, other = two()
    other.attach("a")
    network.flow()
    one.send("a")
    network.flow()
    return network, one, other


def finish(network: Network, *names: str) -> None:
    """Have faults cease, send once more, and see that every message is accounted for."""
    network.blocked.clear()
    network.refused.clear()
    interleaved.finish(network, *names)


def test_both_sides_count_on_after_too_long_an_absence() -> None:
    """What was sent before it, and after it, are the sums of both; what is unknown is told."""
    network, one, other = two_after_a_message()
    network.block(one, other)
    network.pass_time(REMEMBERED + 100, step=1.0)
    finish(network, "a")
    peer_receiver = other.peer_receivers[one.id]
    assert peer_receiver.received == [("a", 1), ("a", 2)]
    assert peer_receiver.unsure == {"a": 1}
    assert one.accounts[other.id].counts(one.numbering) == {"a": 2}


@pytest.mark.parametrize("sent", ["with the promise", "while away"])
def test_a_key_attached_just_before_too_long_an_absence(sent: str) -> None:
    """Its ready is lost, and so is what was sent after that: this is told when they meet again."""
    network, one, other = two()
    other.attach("a")
    while lanes := [lane for lane in network.full() if lane.kind != "data"]:
        lanes[0].deliver()
    if sent == "with the promise":
        one.send("a")
    network.block(one, other)
    network.pass_time(60.0)
    if sent == "while away":
        one.send("a")
    network.pass_time(REMEMBERED + 100, step=1.0)
    assert one.numbering.heads == {"a": 1}
    finish(network, "a")
    peer_receiver = other.peer_receivers[one.id]
    assert peer_receiver.unsure == {"a": 1}
    assert peer_receiver.received == [("a", 2)]


def test_a_name_is_wanted_by_another_key_after_too_long_an_absence() -> None:
    """The key that was in force before ends after the other has come: there was always one."""
    network, one, other = two()
    other.attach("a.x")
    network.flow()
    network.block(one, other)
    one.send("a.x")
    network.pass_time(REMEMBERED + 100, step=1.0)
    other.attach("a.*")
    other.detach("a.x")
    finish(network, "a.x")
    peer_receiver = other.peer_receivers[one.id]
    assert peer_receiver.unsure == {"a.x": 1}
    assert peer_receiver.received == [("a.x", 2)]


@pytest.mark.parametrize("back", [False, True])
def test_more_promises_are_lost_than_are_kept(back: bool) -> None:
    """A key is wanted all the time; others come and go, and no ready arrives."""
    network, one, other = two()
    other.attach("a")
    for number in range(2 * MAX_PROMISES):
        while lanes := [lane for lane in network.full() if lane.kind != "data"]:
            lanes[0].deliver()
        one.send("a")
        for connection in list(network.alive_connections()):
            if connection.dialler is other and connection.down.kind == "data":
                connection.cut()
        if back and number == MAX_PROMISES // 2:
            network.block(one, other)
            network.pass_time(60.0)
            network.blocked.clear()
            network.pass_time(1.0, flow=False)
        other.change([("a.x", number % 2 == 0)])
    assert len(one.session.members.peers[other.id].interest.promised) == MAX_PROMISES
    finish(network, "a", "a.x")


@pytest.mark.parametrize("before", [0, 1])
def test_a_receiver_that_does_not_notice_its_own_absence(before: int) -> None:
    """It was stopped for longer than it was remembered: what it missed had no numbers."""
    network, one, other = two()
    other.attach("a")
    network.flow()
    for _ in range(before):
        one.send("a")
    one.send("a")
    network.flow()
    other.running = False
    network.pass_time(REMEMBERED + 100, step=1.0)
    one.send("a")
    assert one.numbering.heads == {"a": before + 1}, "it is sent to nobody"
    other.resume()
    finish(network, "a")
    peer_receiver = other.peer_receivers[one.id]
    assert peer_receiver.unsure == {"a": before + 1}
    assert peer_receiver.received == [("a", number + 1) for number in range(before + 2)]
    assert one.accounts[other.id].counts(one.numbering) == {"a": before + 2}


def test_a_receiver_that_is_stopped_and_then_loses_what_says_so() -> None:
    """The first ready after it is lost, and the next one comes twice: it is told once."""
    network, one, other = two_after_a_message()
    other.running = False
    network.pass_time(REMEMBERED + 100, step=1.0)
    other.resume()
    while lanes := [lane for lane in network.full() if lane.kind != "data"]:
        lanes[0].deliver()
    network.pass_time(0.5, flow=False)
    for connection in list(network.alive_connections()):
        if connection.dialler is other and connection.down.kind == "data":
            connection.cut()
    network.flow()
    peer_receiver, told = other.peer_receivers[one.id], []
    for _ in range(2):
        interleaved.settle(network)
        told.append(dict(peer_receiver.unsure))
        peer_receiver.unsure.clear()
        assert peer_receiver.connection
        peer_receiver.connection.cut()
    assert told == [{"a": 1}, {}]
    peer_receiver.unsure.update(told[0])
    finish(network, "a")
    assert peer_receiver.received == [("a", 1), ("a", 2)]


@pytest.mark.parametrize("seconds", [40.0, REMEMBERED - 50])
def test_a_receiver_that_is_stopped_for_less_is_told_of_nothing(seconds: float) -> None:
    """It was taken for gone, and is remembered: what was sent meanwhile comes, or is counted."""
    network, one, other = two()
    other.attach("a")
    network.flow()
    one.send("a")
    other.running = False
    network.pass_time(seconds, step=1.0)
    assert not one.session.members.peers
    one.send("a")
    other.resume()
    finish(network, "a")
    peer_receiver = other.peer_receivers[one.id]
    assert not peer_receiver.unsure
    assert [*peer_receiver.received, *sorted(peer_receiver.lost)] in (
        [("a", 1), ("a", 2), ("a", 3)],
        [("a", 1), ("a", 3), ("a", 2)],
        [("a", 3), ("a", 1), ("a", 2)],
    )


def test_a_sender_remembers_for_longer_than_a_receiver() -> None:
    """It noticed earlier that they had parted: what it would forget, no gap would tell of."""
    network, one, other = two_after_a_message()
    network.block(one, other)
    network.refuse(other)  # seen by the one, after a moment; by the other it is silence, for 30 s
    network.pass_time(REMEMBERED + 10, step=1.0)
    assert not one.session.members.peers
    one.send("a")
    assert other.away.there, "not forgotten yet"
    finish(network, "a")
    peer_receiver = other.peer_receivers[one.id]
    assert peer_receiver.received == [("a", 1), ("a", 3)]
    assert peer_receiver.lost == {("a", 2)}
    assert not peer_receiver.unsure

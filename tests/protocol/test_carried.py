"""Nodes behind a hub as machines, under any interleaving of what can go wrong."""

import pytest
from carried import HUB, Guest, HubMachine
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from interleaved import REPEATABLE, Interleaved, index, settle, some_names
from network import Connection, Network
from strategies import KEYS, NAMES

from tests.support import examples


class Carried(Interleaved):
    """What may happen to nodes behind a hub, one thing after the other."""

    @initialize(
        keys=st.lists(st.sets(st.sampled_from(KEYS), min_size=1), min_size=2, max_size=3),
        joined=st.sampled_from([True, True, False]),
    )
    def begin(self, keys: list[set[str]], joined: bool) -> None:
        self.network = Network()
        self.started = 0
        HubMachine(self.network)
        for some in keys:
            self.start().attach(*sorted(some))
        if joined:
            self.network.pass_time(5.0)

    def start(self) -> Guest:
        self.started += 1
        return Guest(self.network, f"guest{self.started}")

    def guest(self, number: int) -> Guest:
        guest = self.machine(number)
        assert isinstance(guest, Guest)
        return guest

    @rule(number=index, which=st.sampled_from(["link", "up", "down", "all"]))
    def reset(self, number: int, which: str) -> None:
        guest = self.guest(number)
        for connection in connections(guest, which):
            connection.cut()

    @rule(number=index, name=st.sampled_from(NAMES))
    def lose_what_is_sent(self, number: int, name: str) -> None:
        """A message is under way when its sender's data connection is reset."""
        guest = self.guest(number)
        guest.send(name)
        for connection in connections(guest, "up"):
            connection.cut()

    @rule(
        number=index,
        seconds=st.sampled_from([1.0, 2.5, 2.5, 5.0, 40.0]),
        names=some_names,
        change=st.none() | st.sampled_from(KEYS),
    )
    def cut_off(self, number: int, seconds: float, names: list[str], change: str | None) -> None:
        """A node is reset and without a word for a while; others send, and it, and want others."""
        guest, network = self.guest(number), self.network
        hub = network.bound.get(HUB)
        if hub is None:
            return
        network.block(guest, hub)
        network.pass_time(seconds)
        for other in network.living():
            for name in names:
                other.send(name)
            if change is not None and other is not guest:
                (other.detach if change in other.attached else other.attach)(change)
        network.blocked.clear()

    @rule(number=index)
    def reset_and_stop(self, number: int) -> None:
        """Its connections end while it is stopped: after 1.5 s the hub takes it for gone."""
        guest = self.guest(number)
        for connection in connections(guest, "all"):
            connection.cut()
        self.stop_and_go_on(number, 2.5, [])

    @rule(seconds=st.sampled_from([0.5, 2.5, 5.0]))
    def stop_the_hub(self, seconds: float) -> None:
        for hub in self.network.hubs:
            hub.running = False
            self.network.pass_time(seconds)
            hub.running = True

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0]))
    def restart_the_hub(self, seconds: float) -> None:
        for hub in list(self.network.hubs):
            hub.kill()
            self.network.pass_time(seconds)
            HubMachine(self.network)

    @rule(number=index, goodbye=st.booleans(), change=st.none() | st.sampled_from(KEYS))
    def restart(self, number: int, goodbye: bool, change: str | None) -> None:
        """A new node comes in the place of an old one, while others change what they want."""
        old = self.guest(number)
        keys = sorted(old.attached)
        (old.leave if goodbye else old.kill)()
        self.start().attach(*keys)
        for other in self.network.living() if change is not None else ():
            if change not in other.attached:
                other.attach(change)

    @precondition(lambda self: len(self.network.living()) < 4)
    @rule(
        number=index,
        hears=st.lists(st.booleans(), min_size=3, max_size=8),
        names=some_names,
        change=st.tuples(st.integers(0, 8), st.sampled_from(KEYS)),
    )
    def meet_slowly(
        self, number: int, hears: list[bool], names: list[str], change: tuple[int, str]
    ) -> None:
        """A node comes; one that hears of it now and then changes what it wants, and it sends."""
        old, new = self.guest(number), self.start()
        for step, heard in enumerate(hears):
            self.network.pass_time(0.5, flow=False)
            deaf(self.network, old, not heard)
            if step == change[0] and change[1] not in old.attached:
                old.attach(change[1])
            for name in names:
                new.send(name)


def deaf(network: Network, guest: Guest, silent: bool = True) -> None:
    """Deliver everything but, if it hears nothing, what others say to a node on its link."""
    held = guest.link.down if silent and guest.link is not None else None
    while lanes := [lane for lane in network.full() if lane is not held]:
        for lane in lanes:
            if lane.queue:
                lane.deliver()


def connections(guest: Guest, which: str) -> list[Connection]:
    """Return connections of a node to its hub, as far as it has them."""
    found = {"link": guest.link, "up": guest.up, "down": guest.down}
    wanted = found.values() if which == "all" else [found[which]]
    return [connection for connection in wanted if connection is not None]


TestCarried = Carried.TestCase
TestCarried.settings = settings(
    max_examples=examples(100), stateful_step_count=30, deadline=None, derandomize=REPEATABLE
)


@pytest.fixture
def joined() -> tuple[Network, Guest, Guest]:
    """A hub, and two nodes behind it: one that sends, and one that wants ``a``."""
    network = Network()
    HubMachine(network)
    sender, receiver = Guest(network, "sender"), Guest(network, "receiver")
    receiver.attach("a")
    settle(network)
    return network, sender, receiver


def test_nodes_behind_a_hub_meet(joined: tuple[Network, Guest, Guest]) -> None:
    """And receive what is sent."""
    network, sender, receiver = joined
    sender.send("a")
    network.flow()
    assert receiver.peer_receivers[sender.id].received == [("a", 1)]


def test_a_promise_that_came_before_its_origin_was_met_holds() -> None:
    """Also where we want something else by the time that we meet it: nothing of it is missed."""
    network = Network()
    HubMachine(network)
    receiver, other = Guest(network, "receiver"), Guest(network, "other")
    receiver.attach("a")
    other.attach("b")
    settle(network)
    sender = Guest(network, "sender")
    while sender.id not in receiver.hubs.ways:  # type: ignore[union-attr]
        network.full()[0].deliver() if network.full() else network.pass_time(0.5, flow=False)
    # The receiver, older and so the one to greet, does so, and hears no answer.
    for _ in range(4):
        deaf(network, receiver)
        network.pass_time(0.5, flow=False)
    assert sender.id not in receiver.peer_receivers
    assert sender.wanted >= {"a"}
    for _ in range(3):
        sender.send("a")
    deaf(network, receiver)
    receiver.attach("a.x")
    settle(network)
    peer_receiver = receiver.peer_receivers[sender.id]
    assert peer_receiver.positions.positions["a"] == 3
    assert peer_receiver.positions.tallies["a"].lost == 3  # a machine asks for nothing
    assert sender.accounts[receiver.id].counts(sender.numbering) == {"a": 3}


def test_a_node_that_no_hub_leads_to_any_more_is_not_dialled() -> None:
    """What its hub says of its end was lost, and it left as silent."""
    network = Network()
    HubMachine(network)
    one, other = Guest(network, "one"), Guest(network, "other")
    settle(network)
    other.kill()
    for connection in connections(one, "all"):
        connection.cut()
    one.running = False
    network.pass_time(2.5)
    one.running = True
    network.pass_time(40.0)
    assert not one.session.members.peers
    assert not one.session.members.candidates


@pytest.mark.parametrize("away", [1.0, 5.0])
def test_who_ends_while_its_hub_is_away_is_gone_soon(away: float) -> None:
    """Nobody is left to say so; and whoever waits until all are ready does not wait for 30 s."""
    network = Network()
    hub = HubMachine(network)
    one, other, third = (Guest(network, name) for name in ("one", "other", "third"))
    settle(network)
    hub.kill()
    other.kill()
    network.pass_time(away)
    HubMachine(network)
    one.attach("a")
    network.pass_time(10.0)
    assert [peer.id for peer in one.session.members.peers.values()] == [third.me]
    assert all(
        peer.ready(one.session.interest.epoch) for peer in one.session.members.peers.values()
    )

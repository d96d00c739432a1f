"""What a node lets go of: exchanges that are used once, at both ends, over simulated wires."""

from collections.abc import Iterator
from typing import Any

import pytest

from zexchange import ExchangeError, Registry
from zexchange.local import to_call
from zexchange.net.inbound.merging import sources_of
from zexchange.testing import Network

NAMES = 300


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """A network whose nodes remember ten exchanges, as others do thousands."""
    monkeypatch.setattr("zexchange.net.engine.memory.REMEMBERED", 10)
    monkeypatch.setattr("zexchange.local.registry.AWAKE", 10)
    network = Network(7)
    yield network
    network.close()


def tables(node: Any) -> dict[str, int]:
    """How much a node remembers by name."""
    engine = node._engine
    numbering, window = engine.outbound.numbering, engine.outbound.window
    siblings = engine.bridges._siblings
    found = {
        "heads": len(numbering.heads),
        "starts": len(numbering.starts),
        "bridges": len(engine.bridges),
        "exchanges": len(node.registry.exchanges()),
        "shared": len(siblings._shared) + len(siblings._young),
        "audiences": len(window._audiences),
        "acked": sum(len(peer.acked) for peer in engine.session.members.peers.values()),
    }
    for peer_receiver in engine.inbound._peer_receivers.values():
        where = peer_receiver.positions
        found["positions"] = len(where.positions)
        found["tallies"] = len(where.tallies)
        found["at hand"] = len(peer_receiver._exchanges) + len(peer_receiver._plain)
    return found


def send_on_many(network: Network, node: Any, names: int = NAMES) -> None:
    for n in range(names):
        node.registry.get(f"reply.{n}").send(n)
        network.advance(0.01)
    network.settle()
    network.advance(5.0)


def test_names_that_are_used_once_leave_nothing_behind(network: Network) -> None:
    """Neither where they are sent on nor where they are received; the sums stay."""
    sender, receiver, got = network.node("sender"), network.node("receiver"), list[int]()
    receiver.registry.match("reply.**").attach(to_call(got.append))
    network.settle()
    send_on_many(network, sender)
    assert got == list(range(NAMES))
    for node in (sender, receiver):
        assert all(size <= 40 for size in tables(node).values()), tables(node)
    assert sum(sender.stats().sent.values()) == NAMES
    assert sum(to.sent for to in sender.stats().sent_to.values()) == NAMES
    assert sum(came.received for came in receiver.stats().received.values()) == NAMES
    sender.flush(1.0)


def test_names_are_used_again(network: Network) -> None:
    """What was forgotten counts on, for those who joined before and for those who do now."""
    sender, receiver, got = network.node("sender"), network.node("receiver"), list[int]()
    receiver.registry.match("reply.**").attach(to_call(got.append))
    network.settle()
    for _ in range(3):
        send_on_many(network, sender, 50)
    late, more = network.node("late"), list[int]()
    late.registry.match("**").attach(to_call(more.append))
    network.settle()
    send_on_many(network, sender, 50)
    assert got == [*range(50)] * 4
    assert more == [*range(50)]
    for node in (receiver, late):
        assert not any(came.lost for came in node.stats().received.values())


def test_a_name_that_is_attached_for_one_answer_leaves_nothing_behind(network: Network) -> None:
    """As where each request has a name of its own for the answer."""
    service, asker = network.node("service"), network.node("asker")
    network.settle()
    for n in range(100):
        exchange, got = asker.registry.get(f"reply.{n}"), list[int]()
        task = to_call(got.append)
        exchange.attach(task)
        network.settle()
        service.registry.get(f"reply.{n}").send(n)
        network.settle()
        assert got == [n]
        exchange.detach(task)
        del exchange
        network.settle()
    network.advance(5.0)
    found = tables(service)
    assert all(size <= 40 for size in found.values()), found
    assert len(asker.registry.exchanges()) <= 40


def test_nothing_is_forgotten_that_a_peer_of_an_earlier_version_was_promised(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take what is numbered anew for repetitions; and there is a limit, that is told."""
    monkeypatch.setattr("zexchange.protocol.session.state.FEATURES", ())
    monkeypatch.setattr("zexchange.net.outbound.bridges.NAMES_MOST", NAMES)
    monkeypatch.setattr("zexchange.net.engine.memory.MANY", 100)
    sender, receiver, got = network.node("sender"), network.node("receiver"), list[int]()
    receiver.registry.match("reply.**").attach(to_call(got.append))
    network.settle()
    send_on_many(network, sender)
    assert got == list(range(NAMES))
    assert tables(sender)["heads"] == NAMES
    assert tables(sender)["bridges"] <= 40
    assert ("names", "over 100 exchanges cannot be forgotten") in sender.stats().rejected
    with pytest.raises(ExchangeError, match="remembered for peers already"):
        sender.registry.get("reply.one more").send(1)
    sender.registry.get("reply.5").send(5)
    network.settle()
    assert got[-1] == 5


@pytest.mark.parametrize("receives", [("f1", "f2"), ("f1",), ("f2",)])
def test_a_process_in_two_federations_forgets_as_well(
    network: Network, receives: tuple[str, ...]
) -> None:
    """What peers are told by either, and what it numbers alike in both."""
    here, there, got = Registry(), Registry(), list[int]()
    there.match("reply.**").attach(to_call(got.append))
    senders = [network.node(f"s in {name}", name, registry=here) for name in ("f1", "f2")]
    receivers = [network.node(f"r in {name}", name, registry=there) for name in receives]
    network.settle()
    send_on_many(network, senders[0])
    send_on_many(network, senders[0], 50)
    network.advance(30.0)
    assert got == [*range(NAMES), *range(50)]
    for node in (*senders, *receivers):
        assert all(size <= 40 for size in tables(node).values()), tables(node)
    siblings = senders[0]._engine.bridges._siblings  # type: ignore[union-attr]
    assert len(siblings._shared) <= 40
    assert all(len(node._engine.bridges.spent) <= 40 for node in senders)  # type: ignore[union-attr]
    for source in sources_of(there)._there.values():
        assert len(source.merger._streams) <= 40

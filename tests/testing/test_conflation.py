"""Conflated exchanges in a simulated network: what receivers get, and what is counted."""

import random

import pytest

from zexchange import Lost, Node, PeerLeft, PeerSlow, Registry, Sent
from zexchange.protocol.wire.messages import FORGETS
from zexchange.testing import Network

pytest_plugins = ["zexchange.testing.fixtures"]

CAMERA = "camera.front"


def viewer(network: Network, name: str) -> tuple[Node, list[object]]:
    node, got = network.node(name), list[object]()
    node.registry.get(CAMERA).handler(got.append)
    return node, got


def film(network: Network, camera: Node, numbers: range) -> None:
    """Send thirty messages a second."""
    for number in numbers:
        camera.registry.get(CAMERA).send(number)
        network.advance(1 / 30)


def check(camera: Node, *viewers: Node, lost: int = 0) -> None:
    """Compare what was sent to each viewer with what has come of it, as both ends count."""
    sent = camera.stats().sent_to
    for node in viewers:
        (there,) = node.stats().received.values()
        here = sent[CAMERA, node.id]
        assert there.received + there.conflated + there.lost == here.sent
        assert here == Sent(here.sent, 0, there.conflated)
        assert there.lost == lost


def test_a_viewer_that_keeps_up_gets_every_message(network: Network) -> None:
    """A claim is answered long before the next message."""
    camera = network.node("camera", conflate=["camera.**"])
    node, got = viewer(network, "viewer")
    network.settle()
    film(network, camera, range(90))
    assert got == list(range(90))
    camera.flush()
    check(camera, node)


def test_a_stopped_viewer_gets_the_newest_message_first(network: Network) -> None:
    """Its neighbours and the sender notice nothing, and what it passed over is no loss."""
    camera = network.node("camera", conflate=["camera.**"], stall=0.2)
    (one, here), (other, there) = viewer(network, "one"), viewer(network, "other")
    network.settle()
    events = list[object]()
    for node in (camera, one, other):
        node.events.handler(events.append)
    film(network, camera, range(30))
    network.stop(other)
    film(network, camera, range(30, 210))
    assert here == list(range(210))
    assert camera.stats().waited == 0
    assert camera.stats().kept == 0
    network.resume(other)
    network.advance(0.02)
    assert there == [*range(30), 209]
    film(network, camera, range(210, 240))
    camera.flush()
    check(camera, one, other)
    assert camera.stats().sent_to[CAMERA, other.id].conflated == 179
    assert not [event for event in events if isinstance(event, Lost | PeerSlow)]


def test_an_answer_that_was_under_way_when_its_viewer_stopped_is_not_given(
    network: Network,
) -> None:
    """It is as old as the stop was long: the newest message comes instead of it."""
    camera = network.node("camera", conflate=["camera.**"])
    node, got = viewer(network, "viewer")
    network.settle()
    camera.registry.get(CAMERA).send(0)
    # In small steps up to where the camera has answered.
    while not camera._engine.outbound.latest._taken:
        network.advance(1e-5)
    network.stop(node)
    film(network, camera, range(1, 180))
    assert got == []
    network.resume(node)
    network.settle()
    assert got == [179]
    camera.flush()
    check(camera, node)


def test_the_only_message_is_given_however_late_it_is(network: Network) -> None:
    """An answer that is late is asked for again, and nothing newer is there."""
    camera = network.node("camera", conflate=["camera.**"])
    node, got = viewer(network, "viewer")
    network.settle()
    camera.registry.get(CAMERA).send(0)
    while not camera._engine.outbound.latest._taken:
        network.advance(1e-5)
    network.stop(node)
    network.advance(2)
    network.resume(node)
    network.settle()
    assert got == [0]


def test_a_burst_costs_one_offer_until_it_is_claimed(network: Network) -> None:
    """However much is sent at once, a stopped viewer has one small frame before it."""
    camera = network.node("camera", conflate=["camera.**"])
    node, got = viewer(network, "viewer")
    network.settle()
    for number in range(10_000):
        camera.registry.get(CAMERA).send(number)
    network.settle()
    assert got[-1] == 9_999
    assert len(got) < 100
    camera.flush()
    check(camera, node)


def test_a_viewer_that_joins_beside_a_stopped_one_is_offered_what_comes(network: Network) -> None:
    """The offer that is out is only at the stopped one."""
    camera = network.node("camera", conflate=["camera.**"])
    one, _ = viewer(network, "one")
    network.settle()
    network.stop(one)
    film(network, camera, range(10))
    _, got = viewer(network, "other")
    camera.wait_subscribers(CAMERA, 2)
    film(network, camera, range(10, 20))
    assert got == list(range(10, 20))


def test_a_retained_message_is_given_as_history(network: Network) -> None:
    """To one that joins late, and once."""
    camera = network.node("camera", conflate=["camera.**"], retain={CAMERA: 1})
    camera.registry.get(CAMERA).send("old")
    camera.registry.get(CAMERA).send("kept")
    node = network.node("viewer")
    got = list[object]()
    with node.registry.get(CAMERA).stream(history=1) as stream:
        network.settle()
        film(network, camera, range(3))
        got = [stream.get(timeout=0) for _ in range(len(stream))]
    assert got == ["kept", 0, 1, 2]


def test_a_camera_that_dies_has_lost_its_newest_message_and_no_other(network: Network) -> None:
    """What it had offered, and the viewer could not claim; what is older was passed over."""
    camera = network.node("camera", conflate=["camera.**"])
    node, got = viewer(network, "viewer")
    network.settle()
    film(network, camera, range(3))
    network.stop(node)
    for number in range(10):
        camera.registry.get(CAMERA).send(number)
        network.advance(0.6)  # it is offered again
    network.kill(camera)
    gone, lost = list[object](), list[object]()
    node.events.handler(lambda e: (gone if isinstance(e, PeerLeft) else lost).append(e))
    network.resume(node)
    network.until(lambda: bool(gone))
    network.advance(1)
    (count,) = node.stats().received.values()
    assert (count.received, count.conflated, count.lost) == (3, 9, 1)
    assert [(e.first, e.last) for e in lost if isinstance(e, Lost)] == [(13, 13)]
    assert got == [0, 1, 2]


def test_a_camera_that_says_goodbye_has_given_its_newest_message(network: Network) -> None:
    """Closing flushes, and what a newer message had replaced is no loss."""
    camera = network.node("camera", conflate=["camera.**"])
    node, got = viewer(network, "viewer")
    network.settle()
    for number in range(1000):
        camera.registry.get(CAMERA).send(number)
    camera.close()
    network.settle()
    (count,) = node.stats().received.values()
    assert got[-1] == 999
    assert (count.lost, count.received + count.conflated) == (0, 1000)


def test_a_node_that_does_not_know_offers_gets_every_message(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exchange is an ordinary one for all while it is there, and conflated before and after."""
    camera = network.node("camera", conflate=["camera.**"])
    node, got = viewer(network, "viewer")
    network.settle()
    film(network, camera, range(10))
    network.stop(node)
    film(network, camera, range(10, 20))
    with monkeypatch.context() as patch:
        patch.setattr("zexchange.protocol.session.state.FEATURES", (FORGETS,))
        old, every = viewer(network, "old")
        camera.wait_subscribers(CAMERA, 1)
        network.advance(0.5)
    network.resume(node)
    network.settle()
    numbers = range(20, 1020)
    for number in numbers:
        camera.registry.get(CAMERA).send(number)
    network.settle()
    assert every == list(numbers)
    assert got == [*range(10), 19, *numbers]
    old.close()
    network.settle()
    film(network, camera, range(1020, 1030))
    network.stop(node)
    film(network, camera, range(1030, 1040))
    network.resume(node)
    network.settle()
    assert got[-11:] == [*range(1020, 1030), 1039]
    camera.flush()
    (there,) = node.stats().received.values()
    assert (there.lost, there.received + there.conflated) == (0, 1040)


def test_an_exchange_can_be_conflated_while_it_is_in_use(network: Network) -> None:
    """From the next message on; large and small ones alike."""
    camera = network.node("camera")
    node, got = viewer(network, "viewer")
    network.settle()
    film(network, camera, range(5))
    camera.registry.conflate("camera.*")
    network.stop(node)
    for size in (10, 200_000, 20):
        camera.registry.get(CAMERA).send(bytes(size))
        network.advance(0.1)
    network.resume(node)
    network.settle()
    assert got == [*range(5), bytes(20)]
    camera.flush()
    check(camera, node)


@pytest.mark.parametrize("seed", range(6))
def test_sums_add_up_whatever_happens(seed: int) -> None:
    """On a wire that loses, delays, repeats and reorders, with cuts, stops and late joiners."""
    dice = random.Random(seed)
    with Network(seed) as network:
        camera = network.node("camera", conflate=["camera.**"], replay_bytes=20_000)
        viewers = [viewer(network, f"viewer {n}") for n in range(2)]
        network.settle()
        number, stopped = 0, set[Node]()
        for _ in range(40):
            node = dice.choice(viewers)[0]
            match dice.randrange(6):
                case 0:
                    network.faults(loss=0.2, delay=(0, 0.02), duplicate=0.1, reorder=0.2)
                case 1:
                    network.faults()
                case 2 if node in stopped:
                    network.resume(node)
                    stopped.discard(node)
                case 2:
                    network.stop(node)
                    stopped.add(node)
                case 3 if not stopped:
                    network.flicker(camera, node)
                case 4 if len(viewers) < 4:
                    viewers.append(viewer(network, f"viewer {len(viewers)}"))
                case _:
                    pass
            for _ in range(dice.randrange(20)):
                number += 1
                camera.registry.get(CAMERA).send((number, bytes(dice.choice([10, 100_000]))))
                network.advance(dice.random() / 20)
        for node in stopped:
            network.resume(node)
        network.faults()
        network.settle()
        camera.registry.get(CAMERA).send((number + 1, b""))
        camera.flush()
        network.settle()
        for _, got in viewers:
            numbers = [n for n, _ in got]  # type: ignore[misc]
            assert numbers == sorted(set(numbers))
            assert numbers[-1] == number + 1
        check(camera, *(node for node, _ in viewers))


def test_in_several_federations_a_newer_message_is_not_held_up_by_the_other_one() -> None:
    """Nobody brings what was passed over: the merger waits for it in neither federation."""
    with Network(3) as network:
        here, there = Registry(), Registry()
        cameras, viewers = (
            [
                network.node(f"{name} in {federation}", federation, registry=registry)
                for federation in ("f", "g")
            ]
            for name, registry in (("camera", here), ("viewer", there))
        )
        here.conflate("camera.**")
        got, lost = list[object](), list[object]()
        there.get(CAMERA).handler(got.append)
        for node in viewers:
            node.events.handler(lambda e: lost.append(e) if isinstance(e, Lost) else None)
        network.settle()
        film(network, cameras[0], range(30))
        assert got == list(range(30))
        network.cut(cameras[1], viewers[1])
        for node in viewers:
            network.stop(node)
        film(network, cameras[0], range(30, 60))
        for node in viewers:
            network.resume(node)
        network.advance(0.1)
        assert got == [*range(30), 59]
        film(network, cameras[0], range(60, 90))
        network.heal(cameras[1], viewers[1])
        network.settle()
        film(network, cameras[0], range(90, 120))
        assert got == [*range(30), *range(59, 120)]
        assert lost == []

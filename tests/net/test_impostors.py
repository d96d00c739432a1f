"""Who speaks under another's id, by a connection of its own: tried with sockets by hand."""

import pytest

from tests.net.conftest import Joiner, collect, on_control, publish
from tests.net.keyedhubs import Huber, RawHub, raw_hub
from tests.net.keyrings import Keyrings, everything, hear, raw, say
from tests.support import eventually
from zexchange import Node, PeerLeft, Registry
from zexchange.protocol.wire.control import control_frame
from zexchange.protocol.wire.data import ready_topic, topic
from zexchange.protocol.wire.envelopes import endpoint_of
from zexchange.protocol.wire.messages import (
    Address,
    Bye,
    Control,
    Hello,
    Interest,
    Label,
    Ping,
    Pong,
    Recall,
    Recalled,
    Replay,
    Replayed,
)

pytestmark = pytest.mark.sockets
HERE = "tcp://127.0.0.1:0"
HALF = 'publish = ["public.**"]\nsubscribe = ["public.**"]\n'


def requests(me: bytes) -> list[Control]:
    """Return everything by which somebody could ask for what is kept, and a goodbye."""
    asked: list[Control] = [Interest(me, 1 << 40, 0, 0, ("**",))]
    for name in ("secret", "public.x"):
        asked += [Recall(me, 7, name), Replay(me, name, 1, 10, 7), Replay(me, name, 1, 10)]
    return [*asked, Bye(me, {})]


def fill(registry: Registry) -> None:
    registry.retain("**", 10)
    for name in ("secret", "public.x"):
        registry.get(name).send(f"in {name}")


def left(node: Node) -> list[object]:
    """Return a list of the peers that leave a node from now on."""
    gone: list[object] = []
    node.events.handler(lambda event: gone.append(event) if isinstance(event, PeerLeft) else None)
    return gone


def test_a_hub_does_not_speak_for_who_goes_past_it(join: Joiner, keyrings: Keyrings) -> None:
    """In the name of a node that is reached directly it gets nothing, and takes nothing away."""
    keyrings.friends("north", "south")
    keyrings.authorize("north", "relay")
    keyrings.permit("north", f"[relay]\nhub = true\n{HALF}")
    with raw_hub(keyrings("relay")) as hub:
        north, here = join(
            keys=keyrings("north"), listen=HERE, local=False, hub=hub.endpoint, join_timeout=0
        )
        control = next(e for e in north.endpoints if e.startswith("tcp"))
        south, there = join(keys=keyrings("south"), peers=[control], listen=HERE, local=False)
        got = collect(there, "secret")
        north.wait_subscribers("secret", 1)
        fill(here)
        gone, me, victim = left(north), bytes.fromhex(south.id), bytes.fromhex(north.id)
        eventually(lambda: hub.carry(me) or _led(north, me))
        for epoch in range(1, 6):
            hub.up.send(b"\x01" + ready_topic(me, epoch))
        hub.up.send(b"\x01" + topic("public.probe"))
        eventually(lambda: _publishes(north, hub))
        for message in requests(me):
            hub.relay(me, victim, control_frame(message))
        hub.relay(me, victim, control_frame(Ping(me, 1, 0)))
        eventually(lambda: hub.carry(me) or _ponged(hub))
        eventually(lambda: got == ["in secret"])
        here.get("secret").send("more")
        north.flush()
        collect(there, "another")
        south.wait_ready()
        here.get("secret").send("still")
        north.flush()
        assert got == ["in secret", "more", "still"]
        assert set(everything(hub.up)) <= {topic("public.probe")}
    assert gone == []
    said = b"".join(frame for frames in hub.said for frame in frames)
    assert b"secret" not in said
    assert b"public" not in said


def test_who_listened_before_hears_no_more(join: Joiner, keyrings: Keyrings) -> None:
    """A hub that waits for the tokens of a node is cut off when that comes without it."""
    keyrings.friends("north", "south")
    keyrings.authorize("north", "relay")
    keyrings.permit("north", f"[relay]\nhub = true\n{HALF}")
    with raw_hub(keyrings("relay")) as hub:
        south, there = join(keys=keyrings("south"), listen=HERE, local=False)
        north, here = join(
            keys=keyrings("north"), listen=HERE, local=False, hub=hub.endpoint, join_timeout=0
        )
        for epoch in range(1, 6):
            hub.up.send(b"\x01" + ready_topic(bytes.fromhex(south.id), epoch))
        hub.up.send(b"\x01" + topic("public.probe"))
        eventually(lambda: hub.carry() or _publishes(north, hub))
        engine = north._engine
        assert engine is not None
        session = engine.session
        control, now = south.endpoints[0], engine.world.monotonic
        on_control(north, lambda: session.candidates.add(control, "static", now()))
        got = collect(there, "secret")
        north.wait_subscribers("secret", 1)
        here.get("secret").send("for one")
        north.flush()
        assert got == ["for one"]
        heard: list[bytes] = []

        def back() -> bool:
            publish(north, lambda me: [[topic("public.probe")]])
            heard.extend(everything(hub.up))
            return topic("public.probe") in heard

        eventually(back)
        assert set(heard) == {topic("public.probe")}


def _led(node: Node, to: bytes) -> bool:
    engine = node._engine
    assert engine is not None
    return to in engine.session.led_to


def _publishes(node: Node, hub: RawHub) -> bool:
    """Publish past every bridge; return whether the hub receives it."""
    publish(node, lambda me: [[topic("public.probe")]])
    return topic("public.probe") in everything(hub.up)


def _ponged(hub: RawHub) -> bool:
    return any(b"pong" in frame for frames in hub.said for frame in frames)


def test_a_key_does_not_get_what_its_neighbour_may(join: Joiner, keyrings: Keyrings) -> None:
    """A process of this user may do everything; who has its key elsewhere, what the file says."""
    keyrings.friends("north", "south")
    keyrings.permit("north", f"[south]\n{HALF}")
    north, here = join(keys=keyrings("north"), listen=HERE)
    south, there = join(keys=keyrings("south"))
    got = collect(there, "secret")
    north.wait_subscribers("secret", 1)
    fill(here)
    gone, me = left(north), bytes.fromhex(south.id)
    with raw(north, keyrings("south")) as thief:
        link, data = thief.control(), thief.data()
        for epoch in range(1, 6):
            data.send(b"\x01" + ready_topic(me, epoch))
        data.send(b"\x01" + topic("secret"))
        addresses = (Address("tcp://127.0.0.1:1", "tcp://127.0.0.1:2"),)
        say(link, Hello(me, "fed", Label("raw", 1), addresses, 1 << 40, ("**",)))
        for message in requests(me):
            say(link, message)
        say(link, Ping(me, 1, 0))
        told = []
        while not isinstance(answer := hear(link), Pong):
            told.append(answer)
        collect(there, "another")
        south.wait_ready()
        here.get("secret").send("more")
        north.flush()
        heard = everything(data)
    assert not [answer for answer in told if isinstance(answer, Recalled | Replayed)]
    assert heard == []
    assert got == ["in secret", "more"]
    assert gone == []
    assert endpoint_of(me) not in north.endpoints


def talk(one: tuple[Node, Registry], other: tuple[Node, Registry]) -> None:
    """See each get what the other sends where a file permits only neighbours anything."""
    for (sender, here), (receiver, there) in ((one, other), (other, one)):
        got = collect(there, f"secret.{sender.id}")
        eventually(lambda r=receiver: all(_beside(peer.control) for peer in r.peers))
        sender.wait_subscribers(f"secret.{sender.id}", 1)
        for n in range(10):
            here.get(f"secret.{sender.id}").send(n)
        sender.flush()
        assert got == list(range(10))


def _beside(endpoint: str | None) -> bool:
    return (endpoint or "").startswith("ipc:")


def test_a_neighbour_may_everything_whichever_way_came_first(
    join: Joiner, keyrings: Keyrings
) -> None:
    """Nodes of this user that also dial each other over TCP come to do what neighbours may."""
    keyrings.friends("north", "south")
    for at, of in (("north", "south"), ("south", "north")):
        keyrings.permit(at, f"[{of}]\n{HALF}")
    north = join(keys=keyrings("north"), listen=HERE)
    tcp = [e for e in north[0].endpoints if e.startswith("tcp")]
    south = join(keys=keyrings("south"), listen=HERE, peers=tcp)
    talk(north, south)
    assert len(north[0].peers) == len(south[0].peers) == 1


def test_a_neighbour_may_everything_beside_a_hub_that_may_not(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """The hub's entry bounds what goes by it, and nothing that goes past it."""
    keyrings.authorize("relay", "north", "south")
    for at in ("north", "south"):
        keyrings.authorize(at, "relay")
        keyrings.permit(at, f"[relay]\nhub = true\n{HALF}")
    hub = keyed_hub()
    talk(*(join(keys=keyrings(name), hub=hub.endpoint) for name in ("north", "south")))


def test_a_node_that_can_only_dial_has_two_ways(
    keyed_hub: Huber, join: Joiner, keyrings: Keyrings
) -> None:
    """It gets by its own connection what it may have, and gives by the hub what may go there."""
    keyrings.friends("north", "south")
    keyrings.authorize("relay", "north", "south")
    for at in ("north", "south"):
        keyrings.authorize(at, "relay")
        keyrings.permit(at, f"[relay]\nhub = true\n{HALF}")
    hub = keyed_hub()
    north, here = join(keys=keyrings("north"), hub=hub.endpoint, local=False, listen=HERE)
    tcp = [e for e in north.endpoints if e.startswith("tcp") and e != hub.endpoint]
    south, there = join(
        keys=keyrings("south"),
        hub=hub.endpoint,
        local=False,
        peers=tcp[:1],
        listen=HERE,
        advertise=("tcp://127.0.0.1:1", "tcp://127.0.0.1:2"),
    )
    got: dict[str, tuple[list[int], list[int]]] = {}
    for name in ("secret", "public.x"):
        got[name] = [], []
        for registry, heard in zip((here, there), got[name], strict=True):
            registry.get(name).handler(heard.append)
    north.wait_subscribers("secret", 1)
    north.wait_subscribers("public.x", 1)
    south.wait_subscribers("public.x", 1)
    for n in range(10):
        for registry in (here, there):
            registry.get("secret").send(n)
            registry.get("public.x").send(n)
    north.flush()
    south.flush()
    once, twice = list(range(10)), sorted([*range(10), *range(10)])
    assert [sorted(which) for which in got["public.x"]] == [twice, twice]
    assert [sorted(which) for which in got["secret"]] == [once, twice]

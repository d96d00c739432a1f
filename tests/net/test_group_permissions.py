"""What keys may do with groups and requests, in a mesh and behind a hub.

It is tried by nodes that keep to no rule.
"""

from collections.abc import Callable
from typing import Any

import pytest

from tests.net.conftest import Joiner, publish
from tests.net.keyedhubs import Huber, behind, carried
from tests.net.keyrings import Keyrings
from tests.support import PATIENCE, eventually
from zexchange import Node, NoResponders, Registry, to_call
from zexchange.groups.intake import Progress
from zexchange.protocol.codec.values import encode
from zexchange.protocol.wire.jobs import Jobs, jobs_head, progress_frame

pytestmark = pytest.mark.sockets
HERE = "tcp://127.0.0.1:0"
Place = tuple[Node, Registry]


class Three:
    """``north`` and its two peers ``south`` and ``west``, of which ``south`` has few rights."""

    def __init__(
        self, way: str, join: Joiner, keyrings: Keyrings, keyed_hub: Huber, permissions: str
    ) -> None:
        self._keyrings = keyrings
        self._guard = "north"
        if way == "mesh":
            keyrings.friends("north", "south", "west")
            keyrings.permit("north", permissions)
            self.north: Place = join(keys=keyrings("north"), listen=HERE, local=False)
            peers = self.north[0].endpoints
            self.south: Place = join(keys=keyrings("south"), peers=peers, local=False)
            self.west: Place = join(keys=keyrings("west"), peers=peers, local=False)
        else:
            self._guard = "relay"
            carried(keyrings, "north", "south", "west", permissions=permissions)
            hub = keyed_hub()
            places = [behind(hub, join, keyrings, name) for name in ("north", "south", "west")]
            self.north, self.south, self.west = places

    def permit(self, permissions: str) -> None:
        """Change what ``south`` may do."""
        self._keyrings.permit(self._guard, permissions)


@pytest.fixture(params=["mesh", "hub"])
def three(
    request: pytest.FixtureRequest, keyrings: Keyrings, keyed_hub: Huber, join: Joiner
) -> Callable[[str], Three]:
    """Return three nodes, given what one of them may do."""
    return lambda permissions: Three(request.param, join, keyrings, keyed_hub, permissions)


def member(place: Place, key: str) -> list[Any]:
    """Make a task a member of the group, and return what it gets, with the names."""
    got = list[Any]()
    place[1].match(key).attach(to_call(got.append), names=True, group="workers")
    return got


def members(place: Place, n: int, name: str) -> None:
    """Wait until a node may send to so many members."""
    roster = place[1]._groups()
    eventually(lambda: len(roster._index.on(name)) == n)


def rejected(place: Place, text: str) -> bool:
    return any(text in reason for _, reason in place[0].stats().rejected)


def peer(place: Place, other: Place) -> Any:
    """Return what a node knows of another."""
    engine = place[0]._engine
    assert engine is not None
    return engine.session.members.peers[bytes.fromhex(other[0].id)]


def test_a_member_gets_what_it_may_subscribe_to(three: Callable[[str], Three]) -> None:
    """The rest goes to others, whatever pattern it is attached to; on its own it is no member."""
    there = three('[south]\nsubscribe = ["open.**"]')
    mine, other = member(there.south, "**"), member(there.west, "**")
    members(there.north, 2, "open.a")
    members(there.north, 1, "secret")
    for n in range(100):
        there.north[1].get("open.a").send(n)
        there.north[1].get("secret").send(n)
    eventually(lambda: len(mine) + len(other) == 200)
    assert {name for name, _ in mine} == {"open.a"}
    assert sorted(n for name, n in other if name == "secret") == list(range(100))
    assert 0 < len(mine) < 100
    there.west[0].close()
    members(there.north, 0, "secret")
    there.north[1].get("new.secret").send(1)
    assert there.north[1].get("new.secret").stats().groups == ()
    there.north[1].get("open.a").send("last")
    eventually(lambda: mine[-1] == ("open.a", "last"))
    assert {name for name, _ in mine} == {"open.a"}


def test_a_name_alone_that_it_may_not_have(three: Callable[[str], Three]) -> None:
    """A peer that may not subscribe to an exchange is no member there."""
    there = three('[south]\nsubscribe = ["open"]')
    mine = member(there.south, "secret")
    open_ = member(there.south, "open")
    members(there.north, 1, "open")
    assert not there.north[1]._groups()._index.on("secret")
    there.north[1].get("secret").send(1)
    there.north[1].get("open").send(2)
    eventually(lambda: open_ == [("open", 2)])
    assert (mine, there.north[1].get("secret").stats().groups) == ([], ())


def test_permissions_change_while_running(three: Callable[[str], Three]) -> None:
    """A member gets what it may have from then on; what it may no longer have goes to others."""
    there = three('[south]\nsubscribe = ["a", "b"]')
    mine, other = member(there.south, "*"), member(there.west, "*")
    for name in "ab":
        members(there.north, 2, name)
    there.permit('[south]\nsubscribe = ["a", "c"]')
    members(there.north, 1, "b")
    for name in "ac":
        members(there.north, 2, name)
    mine.clear()
    for n in range(40):
        for name in "abc":
            there.north[1].get(name).send(n)
    there.north[0].flush(PATIENCE)
    eventually(lambda: len(mine) + len(other) == 120)
    assert {name for name, _ in mine} == {"a", "c"}
    assert [n for name, n in other if name == "b"] == list(range(40))


def test_it_is_sent_what_its_sender_may_publish(three: Callable[[str], Three]) -> None:
    """What may not be published goes to members elsewhere; it is rejected, and is not stuck."""
    there = three('[south]\npublish = ["open"]')
    got = member(there.north, "**")
    members(there.south, 1, "open")
    secret = there.south[1].get("secret")
    secret.send(1)
    there.south[1].get("open").send(2)
    eventually(lambda: got == [("open", 2)])
    mine = member(there.south, "secret")
    secret.send(3)
    if secret.stats().groups[0].redelivered:  # it was told a pattern that it may use in part
        eventually(lambda: rejected(there.north, "may not publish"))
    eventually(lambda: ("secret", 3) in mine)  # the first one may come after it, sent back
    eventually(lambda: not secret.stats().groups[0].under_way)
    assert got == [("open", 2)]


def test_forged_jobs_are_rejected(three: Callable[[str], Three]) -> None:
    """Whatever a peer knows of a member, it gets nothing there that it may not publish."""
    there = three('[south]\npublish = ["open"]')
    got = member(there.north, "*")
    number = there.north[1]._groups().members()[0].number
    members(there.south, 1, "open")
    me, epoch = bytes.fromhex(there.north[0].id), peer(there.south, there.north).interest.announced

    def forged(name: str, origin: bytes) -> list[bytes]:
        head = jobs_head(Jobs(me, epoch, origin, number, 99, 1, 1, 0.0, name))
        return [head + encode("forged")]

    publish(there.south[0], lambda origin: [forged("secret", origin)])
    eventually(lambda: rejected(there.north, "may not publish on 'secret'"))
    # Behind a hub, it is the hub that sees who sends.
    publish(there.south[0], lambda _: [forged("open", bytes.fromhex(there.west[0].id))])
    there.south[1].get("open").send("true")
    eventually(lambda: got == [("open", "true")])


def test_forged_reports_are_rejected(three: Callable[[str], Three]) -> None:
    """No peer says that another has done its work, or that it has done what it was not sent."""
    there = three('[south]\nsubscribe = ["x"]')
    south = there.south[1].get("x").stream(group="workers", ahead=2)
    west = there.west[1].get("x").stream(group="workers", ahead=2)
    members(there.north, 2, "x")
    near = there.north[1].get("x")
    for n in range(4):
        near.send(n)
    groups = there.north[0]._engine.groups  # type: ignore[union-attr]
    stints = {node: list(ways) for node, ways in groups._sent.items()}
    (ours,) = stints[bytes.fromhex(there.south[0].id)]
    (others,) = stints[bytes.fromhex(there.west[0].id)]
    me, epoch = bytes.fromhex(there.north[0].id), peer(there.south, there.north).interest.announced

    def forge(stint: int, done: int) -> None:
        progress = Progress(stint, done, done, 0.0)
        publish(there.south[0], lambda origin: [[progress_frame(me, epoch, origin, progress)]])

    forge(others, 1)
    eventually(lambda: rejected(there.north, "of another peer"))
    forge(ours, 3)
    eventually(lambda: rejected(there.north, "3 jobs, of"))
    (group,) = near.stats().groups
    assert group.under_way + group.owed == 4
    west.close()
    assert sorted(south.get(PATIENCE) for _ in range(4)) == [0, 1, 2, 3]
    south.close()
    eventually(lambda: not near.stats().groups[0].under_way)


def test_who_may_ask_and_who_may_answer(three: Callable[[str], Three]) -> None:
    """Asking takes the right to publish, and answering that to subscribe; a reply takes neither."""
    there = three('[south]\npublish = ["ask.**"]\nsubscribe = ["answer.**"]')
    north, south = there.north[1], there.south[1]
    for asker, responder, name in ((south, north, "ask.x"), (north, south, "answer.x")):
        responder.get("secret").responder(lambda msg: "a secret")
        responder.get(name).responder(lambda msg: 2 * msg)
        assert asker.get(name).request(4, PATIENCE, PATIENCE) == 8
        with pytest.raises(NoResponders):
            asker.get("secret").request(4, PATIENCE)
        responder.get("secret").detach(responder.get("secret").subscribers[0])

"""What an adapter has take part: its own exchanges, and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import eventually
from zexchange import Node, Registry, federate, get_exchange
from zexchange.contrib.channels import below
from zexchange.contrib.membership import Membership

pytestmark = pytest.mark.sockets


@pytest.fixture
def other(rendezvous: Path) -> Iterator[tuple[Node, list[Any]]]:
    """Somebody else in the federation, and what it hears of everything."""
    there, heard = Registry(), list[Any]()
    there.match("**").attach(heard_by(heard), names=True)
    with federate("fed", registry=there) as node:
        yield node, heard


def heard_by(heard: list[Any]) -> Any:
    """Return a task that lists what it is given."""

    class Task:
        """It."""

        send = heard.append

    return Task()


def send(*names: str) -> None:
    """Send on some exchanges."""
    for name in names:
        get_exchange(name).send(name)


def test_an_adapter_has_its_own_exchanges_take_part(other: tuple[Node, list[Any]]) -> None:
    """With a second adapter in the same federation, those of both; with the program, all."""
    node, heard = other
    logs, chat = Membership("fed", None, "logs"), Membership("fed", None, "chat.**")
    logs.join()
    send("logs", "chat.a", "mine")
    eventually(lambda: heard == [("logs", "logs")])
    assert chat.join() is logs.join()
    send("mine", "chat.a", "logs")
    eventually(lambda: heard[1:] == [("chat.a", "chat.a"), ("logs", "logs")])
    with federate("fed") as ours:
        assert ours is logs.join()
        send("mine")
        eventually(lambda: heard[3:] == [("mine", "mine")])
    logs.leave()
    chat.leave()
    eventually(lambda: node.peers == ())


def test_an_adapter_hears_its_own_exchanges(other: tuple[Node, list[Any]]) -> None:
    """And those that are added, once they are."""
    there = other[0].registry
    with get_exchange("a").record() as a, get_exchange("b").record() as b:
        first, second = Membership("fed", None, "a"), Membership("fed", None, "b")
        first.join()
        other[0].wait_ready()
        for name in "ab":
            there.get(name).send(1)
        other[0].flush()
        assert (a, b) == ([1], [])
        second.join()
        for name in "ab":
            there.get(name).send(2)
        other[0].flush()
        assert (a, b) == ([1, 2], [2])
        first.leave()
        second.leave()


def test_what_the_program_has_said_stays(other: tuple[Node, list[Any]]) -> None:
    """An adapter adds to it, and another say of the program is an error as before."""
    _, heard = other
    with federate("fed", exchanges="mine") as node:
        adapter = Membership("fed", None, "logs")
        assert adapter.join() is node
        send("logs", "mine", "other")
        eventually(lambda: heard == [("logs", "logs"), ("mine", "mine")])
        with pytest.raises(ValueError, match="exchanges"):
            federate("fed", exchanges="other")
        adapter.leave()


@pytest.mark.parametrize(
    ("prefix", "pattern"), [("chat.", "chat.**"), ("a.b.", "a.b.**"), ("a.b", "a.**"), ("c", "**")]
)
def test_names_below_a_prefix(prefix: str, pattern: str) -> None:
    """A pattern ends at a level; a prefix that does not is covered by the one above."""
    assert below(prefix) == pattern

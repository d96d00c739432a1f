"""What peers say of others: of which addresses they may speak, by the way that it came."""

from test_peering import HERE, ME, OURS, THEIRS, THEM, THERE
from test_peers import START, hello, of, pass_time

from zexchange.protocol.security.keys import id_for
from zexchange.protocol.security.permissions import Policy, Rights
from zexchange.protocol.session import effects as fx
from zexchange.protocol.session import peers as m
from zexchange.protocol.session.session import Session
from zexchange.protocol.wire import messages as v

NEIGHBOUR = b"n" * 16
THIRD = id_for(b"3" * 32, bytes(16))
BESIDE = v.Address("ipc:///run/us/n.c", "ipc:///run/us/n.d")
TRAP = v.Address("ipc:///tmp/trap.c", "ipc:///tmp/trap.d")
HALF = v.Address("tcp://127.0.0.1:5", "ipc:///tmp/trap.d")
ROUTE = b"route"


def keyed() -> Session:
    """Return a session with keys, where every socket seems to be there."""
    policy = Policy(OURS, {THEIRS: Rights("them", ("p",), ("s",))})
    label = v.Label("host", 2)
    session = Session(ME, "f", label, (HERE,), lambda address: True, START, policy=policy)
    session.take()
    return session


def dialled(effects: list[fx.Effect]) -> list[str]:
    return [effect.endpoint for effect in of(fx.Dial, effects)]  # type: ignore[attr-defined]


def met(session: Session, *addresses: v.Address) -> None:
    """Meet ``THEM`` over TCP, by a hello."""
    session.receive(hello(THEM, addresses=addresses), ROUTE, None, START, THEIRS)


def test_a_socket_named_from_afar_is_neither_dialled_nor_told_on() -> None:
    """Nodes of ours would believe us: what a peer over TCP says of Unix sockets ends here."""
    session = keyed()
    met(session, TRAP, HALF, THERE)
    assert dialled(session.take()) == [THERE.control]
    near = hello(NEIGHBOUR, addresses=(BESIDE,))
    session.receive(near, ROUTE, None, START)
    (welcome,) = [e.message for e in of(fx.Reply, session.take())]  # type: ignore[attr-defined]
    assert welcome.known == ((THEM, (THERE,)),)


def test_gossip_from_afar_leads_to_no_socket_here() -> None:
    """A welcome over TCP may speak of many, but not of what is on our host."""
    session = keyed()
    session.candidates.add(THERE.control, "static", START)
    told = ((THIRD, (TRAP,)), (NEIGHBOUR, (TRAP, HALF)))
    answer = v.Welcome(THEM, hello(THEM, addresses=(TRAP, THERE)), told, ((THIRD, THEIRS),))
    session.take()
    session.receive(answer, None, THERE.control, START, THEIRS)
    assert not dialled(session.take())
    assert session.members.peers[THEM].data == THERE.data


def test_gossip_from_afar_moves_no_neighbour() -> None:
    """One that is stopped is not looked for where somebody over TCP says that it is now."""
    session = keyed()
    session.receive(hello(NEIGHBOUR, addresses=(BESIDE,)), ROUTE, None, START)
    met(session, THERE)
    session.take()
    pass_time(session, m.PROBE_AFTER + 0.2)
    now = START + m.PROBE_AFTER + 0.2
    answer = v.Welcome(THEM, hello(THEM, addresses=(THERE,)), ((NEIGHBOUR, (TRAP, BESIDE)),))
    session.receive(answer, None, THERE.control, now, THEIRS)
    assert session.members.peers[NEIGHBOUR].addresses == (BESIDE,)


def test_neighbours_tell_of_each_other() -> None:
    """Who was met at a Unix socket may speak of others: they are of this user, too."""
    session = keyed()
    session.candidates.add(BESIDE.control, "rendezvous", START)
    third = v.Address("ipc:///run/us/3.c", "ipc:///run/us/3.d")
    answer = v.Welcome(NEIGHBOUR, hello(NEIGHBOUR, addresses=(BESIDE,)), ((THIRD, (third,)),))
    session.take()
    session.receive(answer, None, BESIDE.control, START)
    assert dialled(session.take()) == [third.control]


def test_a_key_made_up_for_an_endpoint_keeps_nobody_out() -> None:
    """Where two keys were told, each authorized one is tried: it is proven who is there."""
    session = keyed()
    elsewhere = v.Address("tcp://10.0.0.9:1", "tcp://10.0.0.9:2")
    session.candidates.add(THERE.control, "static", START)
    told = ((THIRD, (elsewhere,)),)
    made_up = v.Welcome(THEM, hello(THEM, addresses=(THERE,)), told, ((THIRD, THEIRS),))
    session.receive(made_up, None, THERE.control, START, THEIRS)
    candidate = session.members.candidates[elsewhere.control]
    assert candidate.key == THEIRS
    session.take()
    session.candidates.add(elsewhere.control, "static", START)
    assert of(fx.Redial, session.take()) == [fx.Redial(elsewhere.control)]
    assert candidate.key == b""
    session.receive(made_up, None, THERE.control, START, THEIRS)
    assert not of(fx.Redial, session.take())
    assert candidate.key == b""

"""The session: what it answers to each message, and two machines wired back to back."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import Machine, agreed
from network import Network
from strategies import KEYS, NAMES, controls
from test_peers import HERE, LABEL, ME, START, THEM, THERE, alone, events, hello, of

from tests.support import examples
from zexchange.errors import DecodeError
from zexchange.names import matches
from zexchange.protocol.delivery.sequence import Numbering
from zexchange.protocol.session import effects as fx
from zexchange.protocol.session import events as ev
from zexchange.protocol.session.peering import ADMITTED_A_SECOND, ADMITTED_AT_ONCE, INTRODUCED
from zexchange.protocol.session.peers import CHANCE, MAX_GOSSIP
from zexchange.protocol.session.session import Session
from zexchange.protocol.timing import REFUSALS
from zexchange.protocol.wire import messages as v
from zexchange.protocol.wire.control import control_frame, read_control
from zexchange.protocol.wire.limits import MAX_PATTERNS

OTHER = b"\2" * 16


def two(*endpoints: str) -> tuple[Network, Machine, Machine]:
    network = Network()
    one, other = endpoints or ("ipc://one", "ipc://two")
    seeds = () if one.startswith("ipc") else (one,)
    return network, Machine(network, one), Machine(network, other, seeds)


def welcomed(session: Session, sender: bytes = THEM, link: str = THERE.control) -> None:
    session.candidates.add(link, "static", START)
    session.take()
    session.receive(v.Welcome(sender, hello(sender)), None, link, START)


# -------------------------------------------------------------------- two machines


@pytest.mark.parametrize("endpoints", [("ipc://one", "ipc://two"), ("tcp://one", "tcp://two")])
def test_two_machines_join(endpoints: tuple[str, str]) -> None:
    """Two nodes that find each other are ready in both directions without time passing."""
    network, one, other = two(*endpoints)
    one.attach("a")
    other.attach("b.*")
    network.flow()
    if endpoints[0].startswith("ipc"):
        network.pass_time(2.0)
    assert agreed(network) == []
    assert len(one.told(ev.PeerJoined)) == len(other.told(ev.PeerJoined)) == 1


@given(st.sets(st.sampled_from(KEYS)), st.sampled_from(NAMES))
def test_only_what_is_wanted_is_sent(keys: set[str], name: str) -> None:
    """A message is numbered, sent and received if somebody wants it, else none of these."""
    network, one, other = two()
    one.attach(*keys)
    network.pass_time(2.0)
    other.send(name)
    network.flow()
    wanted = any(matches(key, name) for key in keys)
    assert other.numbering.heads == ({name: 1} if wanted else {})
    assert one.peer_receivers[other.id].received == ([(name, 1)] if wanted else [])


def test_the_first_message_after_ready_arrives() -> None:
    """Whatever is sent once a name is in force is received, starting at head+1."""
    network, one, other = two()
    third = Machine(network, "ipc://three")
    third.attach("a")
    network.pass_time(2.0)
    other.send("a")
    one.attach("a")
    network.flow()
    other.send("a")
    network.flow()
    assert one.peer_receivers[other.id].received == [("a", 2)]
    assert third.peer_receivers[other.id].received == [("a", 1), ("a", 2)]


def test_a_reconnect_exposes_what_it_lost() -> None:
    """After a cut the heads come again by themselves, and with them the gap."""
    network, one, other = two()
    one.attach("a")
    network.pass_time(2.0)
    other.send("a")
    connection = one.peer_receivers[other.id].connection
    assert connection is not None
    connection.cut()
    network.pass_time(1.0)
    assert one.peer_receivers[other.id].lost == {("a", 1)}
    other.send("a")
    network.flow()
    assert one.peer_receivers[other.id].received == [("a", 2)]


def test_changes_that_were_missed_do_not_look_like_loss() -> None:
    """A name dropped and wanted again, neither of which was heard, starts at its new head."""
    network, one, other = two()
    one.attach("a")
    network.pass_time(2.0)
    for _ in range(3):
        other.send("a")
    network.flow()
    control = one.links[other.endpoint].connection
    assert control is not None
    one.detach("a")
    one.attach("a")
    control.up.queue.clear()
    network.pass_time(3.0)
    other.send("a")
    network.flow()
    peer_receiver = one.peer_receivers[other.id]
    assert peer_receiver.received == [("a", n) for n in (1, 2, 3, 4)]
    assert peer_receiver.lost == set()


def test_a_stopped_node_is_silent_then_left_then_back() -> None:
    """Stopped for 40 s: silent, left, and joined anew; for itself nobody has died."""
    network, one, other = two()
    network.pass_time(2.0)
    other.running = False
    network.pass_time(40.0)
    kinds = [type(event) for event in one.events]
    assert kinds == [ev.PeerJoined, ev.PeerSilent, ev.PeerLeft]
    other.running = True
    network.pass_time(5.0)
    assert agreed(network) == []
    assert other.told(ev.PeerLeft) == []


def test_a_killed_node_is_gone_within_three_seconds() -> None:
    """A process that died is left, as gone, within 3 s."""
    network, one, other = two()
    network.pass_time(2.0)
    other.kill()
    network.pass_time(3.0)
    (event,) = one.told(ev.PeerLeft)
    assert isinstance(event, ev.PeerLeft)
    assert event.reason == "gone"


def test_a_goodbye_is_heard_at_once() -> None:
    """A node that leaves is left without time passing."""
    network, one, other = two()
    network.pass_time(2.0)
    other.leave()
    (event,) = one.told(ev.PeerLeft)
    assert isinstance(event, ev.PeerLeft)
    assert event.reason == "bye"


def test_a_restart_on_the_same_port_is_a_new_peer() -> None:
    """A node that takes over an endpoint is not mistaken for the one before it."""
    network, one, other = two("tcp://one", "tcp://two")
    network.pass_time(2.0)
    one.kill()
    again = Machine(network, "tcp://one")
    network.pass_time(5.0)
    assert set(other.peers) == {again.id}
    assert agreed(network) == []


def test_gossip_completes_the_mesh() -> None:
    """Nodes that know only one seed learn of each other through it."""
    network = Network()
    machines = [Machine(network, "tcp://n0")]
    machines += [Machine(network, f"tcp://n{i}", ("tcp://n0",)) for i in range(1, 4)]
    network.pass_time(3.0)
    assert agreed(network) == []


def test_two_names_of_one_node_are_one_peer() -> None:
    """A node dialled under two endpoints is one peer, received from once."""
    network = Network()
    one = Machine(network, "tcp://one")
    network.bound["tcp://alias"] = one
    other = Machine(network, "tcp://two", ("tcp://one", "tcp://alias"))
    other.attach("a")
    network.pass_time(3.0)
    one.send("a")
    network.flow()
    assert other.peer_receivers[one.id].received == [("a", 1)]
    assert len(other.told(ev.PeerJoined)) == 1
    assert len(other.links) == 1


def test_federations_do_not_mix() -> None:
    """Nodes of other federations refuse each other, and both sides are told."""
    network = Network()
    one = Machine(network, "tcp://one")
    other = Machine(network, "tcp://two", ("tcp://one",), federation="g")
    network.pass_time(3.0)
    assert not one.peers
    assert not other.peers
    assert one.told(ev.Rejected)
    assert other.told(ev.Rejected)


# ----------------------------------------------------------------- one message at a time


def test_a_hello_is_welcomed_and_called_back() -> None:
    """Whoever says hello is a peer, is told so with whom we know, and is dialled back."""
    session = alone()
    welcomed(session, OTHER, "tcp://o:1")
    session.take()
    session.receive(hello(interest=("a",)), "route", None, START)
    effects = session.take()
    (reply,) = of(fx.Reply, effects)
    assert isinstance(reply, fx.Reply)
    assert isinstance(reply.message, v.Welcome)
    assert [node for node, _ in reply.message.known] == [OTHER]
    assert fx.OpenReceiver(THEM, THERE.data) in effects
    assert fx.InterestChanged(("a",)) in effects
    assert fx.Dial(THERE.control) in effects


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"federation": "g"}, "federation"),
        ({"versions": (2, 3)}, "version"),
        ({"versions": (0, 0)}, "version"),
        ({"versions": (3, 0)}, "version"),
        ({"sender": ME}, "self"),
    ],
)
def test_objections(bad: dict[str, object], reason: str) -> None:
    """Another federation, no common version and ourselves are refused, saying which."""
    session = alone()
    session.receive(hello(**{"sender": THEM, **bad}), "route", None, START)  # type: ignore[arg-type]
    (reply,) = of(fx.Reply, session.take())
    assert isinstance(reply, fx.Reply)
    assert isinstance(reply.message, v.Refuse)
    assert reply.message.reason == reason
    assert not session.members.peers


@pytest.mark.parametrize("versions", [(0, 1), (1, 1), (1, 9), (0, 9)])
def test_common_versions(versions: tuple[int, int]) -> None:
    """A node that speaks more versions than we do is a peer, if ours is among them."""
    session = alone()
    session.receive(hello(versions=versions), "route", None, START)
    assert THEM in session.members.peers


def test_who_cannot_be_reached_is_refused() -> None:
    """A node none of whose addresses can be reached from here cannot be a peer."""
    session = alone(reachable=False)
    session.receive(hello(), "route", None, START)
    (reply,) = of(fx.Reply, session.take())
    assert isinstance(reply, fx.Reply)
    assert isinstance(reply.message, v.Refuse)
    assert reply.message.reason == "unreachable"
    assert session.rejections == {}, "it may have ended while its hello was on the way"
    session.receive(hello(), "route", None, START + 10)
    assert [reason for _, reason in session.rejections] == ["unreachable"]


@pytest.mark.parametrize("kind", [v.Pong, v.Resync])
def test_strangers_are_told_so(kind: type) -> None:
    """Whoever we do not know is told to say hello first, and says it."""
    session = alone()
    session.receive(kind(THEM), "route", None, START)
    assert session.take() == [fx.Reply("route", v.Stranger(ME))]


def test_a_stranger_says_hello() -> None:
    """Told that we are a stranger, we say hello on that link."""
    session = alone()
    welcomed(session)
    session.take()
    session.receive(v.Stranger(THEM), None, THERE.control, START + 1)
    said = [s.message for s in of(fx.Send, session.take()) if isinstance(s, fx.Send)]
    assert [type(message) for message in said] == [v.Hello]


def test_a_ping_is_answered_on_its_own_way() -> None:
    """A ping is answered where it came from; an epoch that we missed is asked for."""
    session = alone()
    welcomed(session)
    session.take()
    session.receive(v.Ping(THEM, 1, 1), "route", None, START)
    assert session.take() == [fx.Reply("route", v.Pong(ME))]
    session.receive(v.Ping(THEM, 2, 1), "route", None, START)
    assert fx.Send(THERE.control, v.Resync(ME)) in session.take()


def test_a_resync_is_answered_with_everything() -> None:
    """Asked for it, we tell our whole interest, with the epoch that is proven here."""
    session = alone()
    welcomed(session)
    session.readiness.change_interest([("a", True)], START)
    session.readiness.proven(THEM, 1)
    session.take()
    session.receive(v.Resync(THEM), "route", None, START)
    assert session.take() == [fx.Send(THERE.control, v.Interest(ME, 2, 0, 1, ("a",), to=THEM))]


def test_a_change_is_told_with_its_base() -> None:
    """A change of interest is subscribed, then told, from one epoch to the next."""
    session = alone()
    welcomed(session)
    session.take()
    session.readiness.change_interest([("a", True), ("b", True), ("b", False)], START)
    told = fx.Send(THERE.control, v.Interest(ME, 2, 1, 0, ("a",), (), THEM))
    assert session.take() == [fx.Resubscribe(2, ("a",), ()), told]


def test_an_old_hello_undoes_nothing() -> None:
    """A hello that was overtaken by a change of interest does not bring the old one back."""
    session = alone()
    welcomed(session)
    session.receive(v.Interest(THEM, 2, 1, 0, ("a",)), "route", None, START)
    session.receive(hello(), "route", None, START)
    assert set(session.members.peers[THEM].interest.keys) == {"a"}


def test_a_hello_of_a_later_epoch_means_that_all_was_forgotten() -> None:
    """To one who begins anew, every head is announced anew with its next token."""
    session = alone()
    welcomed(session)
    session.receive(v.Interest(THEM, 2, 1, 0, ("a",)), "route", None, START)
    session.readiness.token(THEM, 2, True)
    session.readiness.announced(THEM, 2, {})
    session.receive(v.Interest(THEM, 3, 2, 2, ("b",)), "route", None, START)
    session.receive(hello(epoch=4, interest=("a", "b")), "route", None, START)
    session.take()
    session.readiness.token(THEM, 4, True)
    (announce,) = session.take()
    assert isinstance(announce, fx.Announce)
    assert set(announce.keys) == {"a", "b"}


def test_a_hello_told_again_takes_nothing_back() -> None:
    """A hello that was late, or came in by a second way, leaves what is confirmed."""
    session = alone()
    session.receive(hello(interest=("a",)), "route", None, START)
    session.readiness.token(THEM, 1, True)
    session.readiness.announced(THEM, 1, {"a": 5})
    session.receive(v.Ping(THEM, 1, 1, 1), "route", None, START)
    session.receive(hello(interest=("a",)), "route", None, START)
    interest = session.members.peers[THEM].interest
    assert (interest.confirmed, interest.promised) == (1, ())


def test_a_peer_that_is_met_again_begins_a_new_epoch() -> None:
    """What a peer promised before we forgot it is not taken for a promise to our new start."""
    session = alone()
    welcomed(session)
    session.peering.probed(THERE.control, False, START + 2.0)
    assert not session.members.peers
    session.take()
    session.receive(hello(), "route", None, START)
    effects = session.take()
    assert effects.index(fx.Resubscribe(2, (), ())) < effects.index(
        fx.OpenReceiver(THEM, THERE.data)
    )
    session.readiness.proven(THEM, 1)  # from the socket that was there before
    assert not session.members.peers[THEM].ready_epoch >= session.interest.epoch


def test_a_node_that_said_goodbye_does_not_come_back() -> None:
    """What it said before may arrive by another way, later: it is not there any more."""
    session = alone()
    session.receive(hello(), "route", None, START)
    session.receive(v.Bye(THEM, {}), "route", None, START)
    session.take()
    session.receive(v.Welcome(THEM, hello()), None, THERE.control, START)
    session.receive(hello(), "route", None, START)
    assert session.take() == []
    assert not session.members.peers


def test_a_goodbye_is_final_for_ten_minutes() -> None:
    """And no longer: no table grows with who has ended."""
    session = alone()
    session.receive(hello(), "route", None, START)
    session.receive(v.Bye(THEM, {}), "route", None, START)
    session.tick(START + 599)
    session.receive(hello(), "route", None, START + 599)
    assert not session.members.peers
    session.tick(START + 601)
    session.receive(hello(), "route", None, START + 601)
    assert THEM in session.members.peers


def test_who_comes_back_is_known_to_have_what_it_acknowledged() -> None:
    """Whatever it left for; what was sent meanwhile is what it has not."""
    session = alone()
    session.receive(hello(interest=("a",)), "route", None, START)
    session.receive(v.Ack(THEM, {"a": 7}, ME), "route", None, START)
    session.take()
    session.peering.probed(THERE.control, False, START + 2.0)
    assert fx.CloseReceiver(THEM, {}, final=False, acked={"a": 7}) in session.take()
    session.receive(hello(interest=("a",)), "route", None, START + 3.0)
    assert session.members.peers[THEM].acked == {"a": 7}


def test_a_goodbye_goes_wherever_we_said_hello() -> None:
    """Whoever we greeted takes us for a peer, though its answer has not come, or never will."""
    session = alone()
    session.candidates.add("ipc:///tmp/greeted", "rendezvous", START)
    session.candidates.add("ipc:///tmp/dead", "rendezvous", START)
    session.peering.probed("ipc:///tmp/dead", False, START)
    session.receive(hello(), "route", None, START)  # welcomed and dialled
    session.take()
    session.peering.leave({"a": 1})
    bye = v.Bye(ME, {"a": 1})
    assert session.take() == [fx.Send("ipc:///tmp/greeted", bye), fx.Send(THERE.control, bye)]


def test_a_peer_that_is_new_begins_no_epoch() -> None:
    """Whoever is met for the first time costs the other peers nothing."""
    session = alone()
    welcomed(session)
    session.receive(v.Bye(THEM, {}), "route", None, START)
    session.receive(hello(sender=bytes(15) + b"\x09"), "route", None, START)
    assert session.interest.epoch == 1


def test_a_token_from_before_the_whole_is_not_answered() -> None:
    """Changes that were missed have no epochs, so no ready between them could be right."""
    session = alone()
    welcomed(session)
    session.receive(v.Interest(THEM, 5, 0, 1, ("a",)), "route", None, START)
    session.take()
    session.readiness.token(THEM, 4, True)
    assert session.take() == []
    session.readiness.token(THEM, 5, True)
    assert session.take() == [fx.Announce(THEM, 5, ("a",))]


def test_a_ping_confirms() -> None:
    """The ping of a peer that has seen our ready ends the memory of what was promised."""
    session = alone()
    session.receive(hello(interest=("a",)), "route", None, START)
    session.readiness.token(THEM, 1, True)
    session.readiness.announced(THEM, 1, {"a": 5})
    interest = session.members.peers[THEM].interest
    assert interest.promised == (v.Promise(1, {"a": 5}),)
    session.receive(v.Ping(THEM, 1, 1, 1), "route", None, START)
    assert interest.promised == ()


def test_a_token_waits_for_its_interest() -> None:
    """A token is answered when the interest of its epoch is known, whichever comes first."""
    session = alone()
    welcomed(session)
    session.take()
    session.readiness.token(THEM, 2, True)
    assert session.take() == []
    session.receive(v.Interest(THEM, 2, 1, 0, ("a",)), "route", None, START)
    assert session.take() == [fx.InterestChanged(("a",)), fx.Announce(THEM, 2, ("a",))]


def test_a_token_of_a_stranger_is_remembered() -> None:
    """The data path may be faster than the hello: its token is answered later."""
    session = alone()
    session.readiness.token(THEM, 1, True)
    session.receive(hello(interest=("a",)), "route", None, START)
    effects = session.take()
    assert effects.index(fx.InterestChanged(("a",))) < effects.index(fx.Announce(THEM, 1, ("a",)))


def test_an_overtaken_token_is_ignored() -> None:
    """A token that comes late on an old connection does not hide the newer one."""
    session = alone()
    welcomed(session)
    session.receive(v.Interest(THEM, 2, 1, 0), "route", None, START)
    session.readiness.token(THEM, 2, True)
    session.readiness.announced(THEM, 2, {})
    session.take()
    session.readiness.token(THEM, 1, True)
    session.readiness.token(THEM, 1, False)
    assert session.take() == []
    assert session.members.peers[THEM].interest.announced == 2


def test_the_same_token_again_is_a_reconnect() -> None:
    """A token seen twice is answered with the heads of everything that the peer wants."""
    session = alone()
    session.receive(hello(interest=("a",)), "route", None, START)
    session.readiness.token(THEM, 1, True)
    session.readiness.announced(THEM, 1, {})
    session.receive(v.Ping(THEM, 1, 1, 1), "route", None, START)
    session.take()
    session.readiness.token(THEM, 1, True)
    assert session.take() == [fx.Announce(THEM, 1, ("a",))]


def test_a_peer_that_leaves_wants_nothing_any_more() -> None:
    """What a peer wanted is looked at again when it has left: maybe nobody wants it now."""
    session = alone()
    session.receive(hello(interest=("a",)), "route", None, START)
    session.take()
    session.receive(v.Bye(THEM, {}), "route", None, START)
    assert fx.InterestChanged(("a",)) in session.take()


def test_a_withdrawn_token_ends_the_promise() -> None:
    """Once a peer's token is unsubscribed, nothing is promised to it until one comes again."""
    session = alone()
    session.readiness.token(THEM, 1, True)
    session.receive(hello(interest=("a",)), "route", None, START)
    session.readiness.announced(THEM, 1, {})
    interest = session.members.peers[THEM].interest
    assert interest.in_force("a")
    session.readiness.token(THEM, 1, False)
    assert not interest.in_force("a")
    session.readiness.announced(THEM, 1, {})
    assert not interest.in_force("a")


def test_a_promise_holds_whose_token_is_withdrawn_in_the_same_turn() -> None:
    """What was sent since then is accounted for, once the peer is back."""
    session = alone()
    session.receive(hello(interest=("a",)), "route", None, START)
    session.readiness.token(THEM, 1, True)
    session.readiness.token(THEM, 1, False)
    session.readiness.announced(THEM, 1, {"a": 5})
    interest = session.members.peers[THEM].interest
    assert not interest.in_force("a")
    assert interest.promised == (v.Promise(1, {"a": 5}),)
    session.peering.probed(THERE.control, False, START + 1.6)
    assert THEM not in session.members.peers
    session.receive(hello(interest=("a",), epoch=2), "route", None, START)
    assert session.members.peers[THEM].interest.promised == (v.Promise(1, {"a": 5}),)


@pytest.mark.parametrize(
    "message",
    [
        v.Ping(THEM, 1, 1, 1, to=bytes(15) + b"\x09"),
        v.Interest(THEM, 2, 1, 1, ("a",), to=bytes(15) + b"\x09"),
        v.Ack(THEM, {"a": 70_000}, to=bytes(15) + b"\x09"),
    ],
)
def test_what_is_meant_for_another_is_not_taken(message: v.Control) -> None:
    """A restarted node takes over no confirmations that were meant for the one before it."""
    session = alone()
    welcomed(session)
    session.take()
    session.receive(message, "route", None, START)
    assert session.take() == [fx.Reply("route", v.Stranger(ME))]
    peer = session.members.peers[THEM]
    assert (peer.interest.epoch, peer.interest.confirmed, peer.acked) == (1, 0, {})


def test_a_missed_change_is_asked_for_at_once() -> None:
    """A change that does not follow on what is known is answered with a resync."""
    session = alone()
    welcomed(session)
    session.take()
    session.receive(v.Interest(THEM, 3, 2, 0, ("a",)), "route", None, START)
    assert session.take() == [fx.Send(THERE.control, v.Resync(ME))]
    assert not session.members.peers[THEM].interest.keys


def test_a_change_told_twice_is_taken_once() -> None:
    """A change that is known already is ignored, with all that it says."""
    session = alone()
    welcomed(session)
    change = v.Interest(THEM, 2, 1, 0, ("a",))
    session.receive(change, "route", None, START)
    session.readiness.token(THEM, 2, True)
    session.readiness.announced(THEM, 2, {})
    session.receive(v.Interest(THEM, 3, 2, 2, (), ("a",)), "route", None, START)
    session.take()
    session.receive(change, "route", None, START)
    assert session.take() == []
    interest = session.members.peers[THEM].interest
    assert (interest.epoch, interest.confirmed, set(interest.keys)) == (3, 2, set())


def test_a_peer_without_link_is_probed_where_it_can_be_reached() -> None:
    """Who said hello and died before it was linked is found gone, too."""
    session = alone()
    session.receive(hello(), "route", None, START)
    session.peering.probed(THERE.control, False, START + 1.6)
    assert events(session.take())[-1] == ev.PeerLeft(THEM.hex(), LABEL, "gone")


def test_rejections_are_counted_and_told_once() -> None:
    """What is not taken is an event the first time, and a count after that."""
    session = alone()
    for _ in range(3):
        session.reject("somebody", "nonsense")
    assert events(session.take()) == [ev.Rejected("somebody", "nonsense", 1)]
    assert session.rejections == {("somebody", "nonsense"): 3}


def test_a_candidate_with_a_peer_is_not_dropped() -> None:
    """A link that leads to a peer stays, whatever the directory says."""
    session = alone()
    welcomed(session)
    session.receive(v.Stranger(THEM), None, THERE.control, START)
    session.take()
    session.candidates.drop(THERE.control)
    assert session.take() == []


@settings(max_examples=examples(150))
@given(st.lists(st.tuples(controls, st.booleans(), st.booleans()), max_size=8))
def test_any_message_in_any_order_is_survived(
    messages: list[tuple[v.Control, bool, bool]],
) -> None:
    """No message, from whomever and whenever, raises; the machine ticks on."""
    session = alone()
    welcomed(session)
    now = START
    for message, known, answer in messages:
        now += 0.7
        if known and not isinstance(message, v.Hello | v.Welcome):
            message = replace(message, sender=THEM)
        link = THERE.control if answer else None
        session.receive(message, None if answer else "route", link, now)
        session.tick(now)
        session.take()


def test_our_own_endpoint_is_not_dialled() -> None:
    """What is told of ourselves, by gossip or by the user, is not dialled."""
    session = alone()
    session.candidates.add(HERE.control, "static", START)
    assert session.take() == []
    assert str(LABEL) == "them@host:1"


def test_rejections_of_many_kinds_are_bounded() -> None:
    """Their words come from strangers: beyond a number of kinds they are counted together."""
    session = alone()
    for n in range(3000):
        session.reject(f"source {n}" + "x" * 10_000, "reason", "y" * 10_000)
    kinds = session.rejections
    assert len(kinds) <= 1001
    assert sum(kinds.values()) == 3000
    assert all(len(source) + len(reason) < 1000 for source, reason in kinds)
    assert all(len(e.detail) < 1000 for e in events(session.take()) if isinstance(e, ev.Rejected))


def many(number: int) -> tuple[tuple[bytes, tuple[v.Address, ...]], ...]:
    """Peers that somebody knows of, or has made up."""
    return tuple(
        (n.to_bytes(16, "big"), (v.Address(f"tcp://h:{n}", "tcp://h:1"),)) for n in range(number)
    )


def test_gossip_is_bounded() -> None:
    """A peer that knows of a million others makes us dial few of them at a time."""
    session = alone()
    welcomed(session)
    session.receive(v.Welcome(THEM, hello(), many(9000)), None, THERE.control, START)
    assert len(session.members.gossip()) == MAX_GOSSIP
    assert ("gossip", "more endpoints than are dialled at a time") in session.rejections


def test_made_up_gossip_makes_room() -> None:
    """Who has not answered for a while is dialled no more once others are spoken of."""
    session = alone()
    welcomed(session)
    session.receive(v.Welcome(THEM, hello(), many(9000)), None, THERE.control, START)
    there = v.Address("tcp://good:1", "tcp://good:2")
    welcome = v.Welcome(THEM, hello(), ((b"g" * 16, (there,)),))
    session.receive(welcome, None, THERE.control, START + CHANCE - 1)
    assert there.control not in session.members.candidates
    session.receive(welcome, None, THERE.control, START + CHANCE)
    assert there.control in session.members.candidates
    assert len(session.members.gossip()) == MAX_GOSSIP


def test_what_a_peer_said_to_dial_is_dialled_once() -> None:
    """A node that says hello with ever new addresses is dialled at one of them at a time."""
    session = alone()
    for n in range(500):
        told = hello(addresses=(v.Address(f"tcp://h:{n}", "tcp://h:1"),))
        session.receive(told, b"route", None, START)
    assert len(session.members.candidates) == 1
    session.receive(v.Bye(THEM, {}), b"route", None, START)
    assert len(session.members.candidates) == 0


def newcomer(n: int, now: float, session: Session) -> None:
    session.receive(hello(n.to_bytes(16, "big")), f"route {n}", None, now)


def test_newcomers_are_taken_so_many_at_a_time() -> None:
    """New ids cost sockets: of a flood so many are taken at once and then a second."""
    session = alone()
    for n in range(1, 2000):
        newcomer(n, START, session)
    assert len(session.members.peers) == ADMITTED_AT_ONCE
    for n in range(1, 2000):
        newcomer(n, START + 1, session)
    assert len(session.members.peers) == ADMITTED_AT_ONCE + ADMITTED_A_SECOND
    assert ("hello", "more newcomers than are taken at a time") in session.rejections


def test_a_connection_brings_few_nodes() -> None:
    """Who makes nodes up takes no places of others: a connection is there for one."""
    session = alone()
    for n in range(1, 2000):
        session.receive(hello(n.to_bytes(16, "big")), b"route", None, START)
    assert len(session.members.peers) == INTRODUCED[0]
    newcomer(3000, START, session)
    assert len(session.members.peers) == INTRODUCED[0] + 1
    reason = "more newcomers by one connection than are taken"
    assert session.rejections["hello", reason] == 1999 - INTRODUCED[0]


def small(most: int) -> Session:
    """A node that has file descriptors for few peers."""
    return Session(ME, "f", LABEL, (HERE,), lambda a: True, START, room=(most, MAX_GOSSIP))


def test_a_full_node_says_so() -> None:
    """Who finds no place is told, and so is the user."""
    session = small(2)
    for n in range(1, 4):
        newcomer(n, START, session)
    assert len(session.members.peers) == 2
    replies = of(fx.Reply, session.take())
    assert replies[-1].route == "route 3"
    assert (replies[-1].message.reason, len(replies)) == ("full", 3)  # type: ignore[union-attr]


def test_who_has_proven_nothing_makes_room() -> None:
    """The made up do not keep out who is there: after a while they give their places up."""
    session = small(2)
    newcomer(1, START, session)
    session.members.peers[(1).to_bytes(16, "big")].ready_epoch = 1
    newcomer(2, START, session)
    newcomer(3, START + CHANCE, session)
    assert {int.from_bytes(node, "big") for node in session.members.peers} == {1, 3}
    left = [e for e in events(session.take()) if isinstance(e, ev.PeerLeft)]
    assert [event.reason for event in left] == ["crowded out"]


def test_a_token_under_anothers_id_takes_no_place() -> None:
    """Tokens of epochs that a peer never told of do not keep its own from being answered."""
    session = alone()
    welcomed(session)
    for epoch in (2**64 - 1, 2**63, *range(2, 40)):
        session.readiness.token(THEM, epoch, True)
    session.take()
    session.readiness.token(THEM, 1, True)
    assert [effect.epoch for effect in of(fx.Announce, session.take())] == [1]
    session.readiness.announced(THEM, 1, {})
    session.receive(v.Interest(THEM, 2, 1, 0, ("x",)), None, THERE.control, START)
    assert [effect.epoch for effect in of(fx.Announce, session.take())] == [2]


def test_a_token_that_never_was_can_be_withdrawn() -> None:
    """Nobody has to have subscribed to what is unsubscribed from; no epoch is 0."""
    session = alone()
    for node in (THEM, ME):
        for epoch in (0, 1):
            session.readiness.token(node, epoch, False)
    session.readiness.token(THEM, 0, True)
    welcomed(session)
    assert not of(fx.Announce, session.take())


def test_only_what_was_sent_can_be_acknowledged() -> None:
    """Made-up names and numbers are not kept, and are no progress."""
    numbering = Numbering()
    numbering.take("x", 5)
    session = Session(ME, "f", LABEL, (HERE,), lambda a: True, START, numbering=numbering)
    session.receive(hello(), b"route", None, START)
    told = v.Ack(THEM, {"x": 9, "made up": 3})
    assert session.receive(told, b"route", None, START) == v.Ack(THEM, {"x": 5})
    assert session.members.peers[THEM].acked == {"x": 5}


def test_an_interest_that_grows_without_end_is_not_taken() -> None:
    """Patterns that are added bit by bit are as many as a hello may have, and no more."""
    session = alone()
    welcomed(session)
    for n in range(11):
        added = tuple(f"{n}.{m}.*" for m in range(100))
        session.receive(v.Interest(THEM, n + 2, n + 1, 0, added), None, THERE.control, START)
    interest = session.members.peers[THEM].interest
    assert len(interest.keys.patterns) == MAX_PATTERNS
    assert any("too many" in reason for _, reason in session.rejections)


def test_strangers_are_told_why_now_and_then() -> None:
    """What a stranger does not read waits here: of many questions on a connection few are answered.

    Another connection is answered all the same.
    """
    session = alone()
    asked = [hello(OTHER, federation="another"), v.Ping(OTHER, 1, 1)]

    def answers(route: str, now: float) -> int:
        for message in asked * 50:
            session.receive(message, route, None, now)
        return len(of(fx.Reply, session.take()))

    at_once, a_second = REFUSALS
    assert answers("one", START) == at_once
    assert answers("one", START) == 0
    assert answers("two", START) == at_once
    assert answers("one", START + 3.0) == 3 * a_second


@pytest.mark.parametrize("name", ["", "f" * 256, "\0", "é" * 128])
def test_a_federation_has_a_name_that_can_be_repeated(name: str) -> None:
    """A hello of a federation that nobody can join is malformed, and is not answered."""
    with pytest.raises(DecodeError, match="federation"):
        read_control(control_frame(hello(OTHER, federation=name)))

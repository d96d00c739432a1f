"""What is wrong, judged from pictures that are made by hand; no sockets."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zexchange import GroupStats
from zexchange.net.doctor.reach import Reach
from zexchange.net.doctor.rules import KEYS, RULES, diagnose
from zexchange.net.doctor.snapshot import Endpoint, Lookup, PeerView, Picture

THERE = "tcp://192.0.2.1:7400"


def peer(label: str = "them@there:7", **more: Any) -> PeerView:
    """A peer with which all is well, but for what is said."""
    well: dict[str, Any] = {"answers": True, "calls": True, "heard": True, "hears": True}
    well |= {"control": THERE, "data": "tcp://192.0.2.1:7401", "clock": 0.0, "room": 100}
    return PeerView(label, "there", "id", **{**well, **more})


def picture(*peers: PeerView, **more: Any) -> Picture:
    told = (("tcp://0.0.0.0:7400", "tcp://0.0.0.0:7401"),)
    return Picture("lab", "here", "me", advertises=told, peers=peers, **more)


def dialled(outcome: str = "", found_by: str = "static", **more: Any) -> Endpoint:
    reach = Reach(outcome, "words") if outcome else None
    state = "dialing" if outcome else "refused"
    return Endpoint(THERE, found_by, more.pop("state", state), reach=reach, **more)


def group(members: int, **more: int) -> GroupStats:
    counts = {"under_way": 0, "owed": 0, "redelivered": 0, "lost": 0}
    return GroupStats("workers", members, **{**counts, **more})


def cause(picture: Picture) -> str:
    found = diagnose(picture)
    assert not found.healthy
    assert found.findings[0].wrong
    return found.conclusion


def test_members_of_groups_are_told() -> None:
    """Who only takes a share listens, too; what is under way and what waits is a note."""
    there = peer(groups=("workers",))
    found = diagnose(picture(there, exchange="x", groups=(group(2, under_way=3, owed=1_000),)))
    assert found.healthy
    (note,) = found.findings
    assert "Group 'workers' of 'x' has 2 members: 3 messages" in note.text
    assert "1,000 wait" in note.text
    assert diagnose(picture(there, exchange="x", groups=(group(1),))).healthy


def test_a_group_without_members_is_wrong() -> None:
    """Its messages wait, and not for long; those that are lost are told."""
    said = cause(picture(peer(listens=True), exchange="x", groups=(group(0, owed=7),)))
    assert "has no member left: 7 messages" in said
    found = diagnose(picture(peer(listens=True), exchange="x", groups=(group(1, lost=5),)))
    assert any("5 messages of this process were lost" in f.text for f in found.findings)


def test_all_is_well() -> None:
    """With every peer ready nothing is wrong, and listeners are counted."""
    found = diagnose(picture(peer(listens=True), peer(), exchange="prices"))
    assert found.healthy
    assert found.findings == ()
    assert "2 peers are ready both ways, and 1 of them listens to 'prices'" in found.conclusion


def test_nobody() -> None:
    """Nobody to be found is the cause, with where was looked."""
    assert "no process of this user on this host (in /run/x)" in cause(picture(rendezvous="/run/x"))
    assert "nobody on the local network" in cause(picture(lan=True))
    alone = Endpoint(THERE, "dns", "ourselves")
    assert "nobody but this node" in cause(picture(endpoints=(alone,)))


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("unresolved", "cannot be resolved"),
        ("no route", "no way to"),
        ("forbidden", "own firewall"),
        ("refused", "Nothing listens"),
        ("timeout", "does not answer"),
        ("mute", "does not say what it is"),
        ("not ours", "not zexchange"),
        ("zmq", "ZeroMQ, but not zexchange"),
        ("data port", "control port"),
        ("keys", "has keys"),
        ("ok", "has not answered"),
    ],
)
def test_an_endpoint_that_nobody_answers_at(outcome: str, words: str) -> None:
    """Each outcome of a try by hand is a sentence that names the endpoint."""
    said = cause(picture(endpoints=(dialled(outcome),)))
    assert words in said
    assert THERE in said


@pytest.mark.parametrize("reason", ["federation", "version", "unreachable", "key", "permission"])
def test_a_refusal_is_passed_on(reason: str) -> None:
    """Who sends us away is quoted, and there is something to do about it."""
    said = cause(picture(endpoints=(dialled(reason=reason, text="their words"),)))
    assert THERE in said
    assert "their words" in said or reason == "unreachable"


def test_what_others_merely_tell_of_is_a_note() -> None:
    """An endpoint that only a peer spoke of does no harm; one that refuses has just ended."""
    elsewhere = peer(control="tcp://192.0.2.9:7400")
    for outcome, notes in (("timeout", 1), ("refused", 0)):
        found = diagnose(picture(elsewhere, endpoints=(dialled(outcome, "gossip"),)))
        assert found.healthy
        assert len(found.findings) == notes


def test_a_name_without_address() -> None:
    """A name is quoted with the resolver's words."""
    lookup = Lookup("tcp://x.example:7400", (), "no such name")
    assert "The name 'x.example' cannot be resolved: no such name" in cause(
        picture(lookups=(lookup,))
    )


@pytest.mark.parametrize(
    ("halves", "words"),
    [
        ({"calls": False, "hears": False}, "it cannot reach us: it dials port 7400 and the next"),
        ({"answers": False}, "reaches us and we cannot reach it"),
        ({"heard": False}, "its data port (tcp://192.0.2.1:7401)"),
        ({"heard": False, "data": "tcp://10.0.0.1:7401"}, "Check advertise= there"),
        ({"hears": False}, "our data port (port 7401)"),
        ({"calls": False}, "cannot acknowledge them: our control port (port 7400)"),
        ({"calls": False, "answers": False, "hears": False, "silent": True}, "gone silent"),
    ],
)
def test_half_open(halves: dict[str, Any], words: str) -> None:
    """Each way that a peer can be half open has a cause of its own."""
    assert words in cause(picture(peer(), peer("half@open:1", **halves)))


@pytest.mark.parametrize(
    ("halves", "words"),
    [
        ({"calls": False}, "has not connected to acknowledge them yet"),
        ({"calls": False, "hears": False}, "has not received our messages yet"),
        ({"hears": False}, "has not received our messages yet"),
        ({"heard": False}, "has not let us receive its messages yet"),
        ({"answers": False}, "does not answer at ipc:///run/x/them.c"),
        ({"answers": False, "control": ""}, "does not answer at its Unix socket"),
    ],
)
def test_half_open_by_unix_sockets(halves: dict[str, Any], words: str) -> None:
    """Nobody is sent to a firewall, or told of a port, between two processes of one host."""
    sockets = {"control": "ipc:///run/x/them.c", "data": "ipc:///run/x/them.d"}
    told = (("ipc:///run/x/me.c", "ipc:///run/x/me.d"),)
    said = cause(replace(picture(peer("half@here:1", **{**sockets, **halves})), advertises=told))
    assert "half@here:1 is on this host" in said
    assert words in said
    assert "port" not in said
    assert "firewall" not in said
    assert "()" not in said


def test_loopback_is_no_address_for_another_host() -> None:
    """A peer elsewhere that is told to dial loopback dials itself."""
    told = (("tcp://127.0.0.1:7400", "tcp://127.0.0.1:7401"),)
    half = replace(picture(peer(calls=False, hears=False)), advertises=told)
    assert "which is itself" in cause(half)


def test_a_held_thread_comes_before_what_it_brings_about() -> None:
    """Who is held up connects to nobody new: the task is the cause, not a firewall."""
    assert "for 12 s" in cause(picture(peer(held=12.0, hears=False)))
    assert "exchange 'x'" in cause(picture(peer(heard=False), held=3.0, holder="exchange 'x'"))


def test_messages_that_were_passed_over() -> None:
    """They are counted at either end, and nothing is wrong."""
    found = diagnose(picture(peer(conflated=1200, we_conflated=7)))
    assert found.healthy
    there, here = found.findings
    assert there.text.startswith("them@there:7 has passed over 1,200 messages of this node for")
    assert here.text.startswith("This node has passed over 7 messages of them@there:7 for")


def test_slowness_descriptors_and_clocks() -> None:
    """Slow peers and few descriptors are wrong; a clock is a note."""
    assert "waited for no more" in cause(picture(peer(slow=True)))
    assert "finds this node too slow" in cause(picture(peer(finds_us_slow=True)))
    assert "This process has file descriptors left for 2 more" in cause(picture(peer(), room=2))
    assert "them@there:7 has file descriptors" in cause(picture(peer(room=0)))
    found = diagnose(picture(peer(clock=-30.0)))
    assert found.healthy
    assert "30.0 s behind ours" in found.findings[0].text


@pytest.mark.parametrize(
    ("listened", "hint"),
    [
        ("prices.aapl", "'prices.aapl'"),
        ("price.AAPL", "'price.AAPL'"),
        ("prices.*.new", "'prices.*.new'"),
        ("weather", None),
    ],
)
def test_nobody_listens(listened: str, hint: str | None) -> None:
    """Nobody at the named exchange is the cause, with what may have been meant."""
    said = cause(picture(peer(interest=(listened,)), exchange="prices.AAPL"))
    assert "Nobody listens to 'prices.AAPL'" in said
    assert (hint in said) if hint else ("Listened to" not in said)


def test_an_exchange_that_takes_no_part() -> None:
    """An exchange outside `exchanges=` cannot arrive."""
    assert "is not shared" in cause(picture(peer(listens=True), exchange="x", federated=False))


def test_who_was_sent_away_matters_if_there_is_nobody_else() -> None:
    """A caller of another federation is the cause where there is no peer, else a note."""
    rejected = {("x@there:1", "federation"): 3}
    assert "is in another federation" in cause(picture(rejected=rejected))
    assert diagnose(picture(peer(), rejected=rejected)).healthy


@pytest.mark.parametrize("reason", list(KEYS))
def test_keys(reason: str) -> None:
    """What broke off a connection over keys is the cause, before what a try by hand says."""
    seen = picture(endpoints=(dialled("keys"),), rejected={(THERE, reason): 1})
    assert THERE in cause(seen)
    assert "key" in cause(seen)
    assert "has keys (" not in cause(seen)


def test_a_hub_that_is_refused_for_its_key() -> None:
    """Of a hub it is said that it is one, and what to write where; of one that carries us, none."""
    hub = dialled("keys", found_by="hub")
    seen = picture(endpoints=(hub,), rejected={(THERE, "no hub's key"): 1})
    assert f"The hub at {THERE}" in cause(seen)
    assert "hub = true" in cause(seen)
    away = replace(hub, state="refused", reason="identity", text="not yours")
    seen = picture(endpoints=(away,), rejected={(THERE, "wrong key"): 1})
    assert f"The hub at {THERE} knows another key of us (not yours)" in cause(seen)
    carries = replace(hub, state="hub")
    assert diagnose(picture(peer(), endpoints=(carries,), rejected=seen.rejected)).healthy


flags = st.booleans()
views = st.builds(
    PeerView,
    label=st.just("them@there:7"),
    host=st.sampled_from(["here", "there"]),
    id=st.just("id"),
    answers=flags,
    calls=flags,
    heard=flags,
    hears=flags,
    control=st.sampled_from([THERE, "", "ipc:///x.c"]),
    data=st.sampled_from(["tcp://192.0.2.1:7401", "", "ipc:///x.d"]),
    silent=flags,
    slow=flags,
    held=st.sampled_from([0.0, 2.0]),
    room=st.none() | st.integers(0, 10),
    clock=st.none() | st.floats(-100, 100),
    listens=flags,
)
outcomes = st.sampled_from(["ok", "refused", "timeout", "keys", "whatever comes"])
endpoints = st.builds(
    Endpoint,
    endpoint=st.just(THERE),
    found_by=st.sampled_from(["static", "dns", "lan", "gossip", "hello", "rendezvous", "hub"]),
    state=st.sampled_from(["peer", "hub", "ourselves", "refused", "dialing"]),
    reason=st.sampled_from(["", "version", "federation", "identity", "taken", "else"]),
    reach=st.none() | st.builds(Reach, outcomes, st.just("words")),
)
pictures = st.builds(
    Picture,
    federation=st.just("lab"),
    host=st.just("here"),
    id=st.just("me"),
    advertises=st.sampled_from([(), (("ipc:///c", "ipc:///d"),), ((THERE, THERE),)]),
    endpoints=st.lists(endpoints, max_size=3).map(tuple),
    peers=st.lists(views, max_size=3).map(tuple),
    exchange=st.sampled_from(["", "prices"]),
    held=st.sampled_from([0.0, 5.0]),
    room=st.none() | st.integers(0, 10),
)


@given(pictures)
def test_whatever_is_seen_is_judged(seen: Picture) -> None:
    """Every picture has a conclusion; healthy are those in which nothing is wrong."""
    found = diagnose(seen)
    assert found.conclusion.startswith(("Nothing is wrong", "Likeliest cause"))
    assert found.healthy == (not any(f.wrong for f in found.findings))
    if found.healthy:
        assert seen.peers
        assert all(p.ready or p.held for p in seen.peers)
    assert str(found).endswith(found.conclusion)


def test_rules_have_no_favourites() -> None:
    """No rule says anything of a picture in which all is well."""
    assert not [f for rule in RULES for f in rule(picture(peer(listens=True), exchange="x"))]

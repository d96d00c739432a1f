"""`federate` and `Node`, over real sockets: several nodes in this process."""

import asyncio
import logging
import sys
import threading
import time

import pytest

import zexchange
from tests.net.conftest import Joiner, collect, on_control
from tests.support import PATIENCE, eventually, patience
from zexchange import Closed, Node, Registry, Unreachable, federate

pytestmark = pytest.mark.sockets


def test_what_is_sent_after_federate_returned_arrives(join: Joiner) -> None:
    """A message sent right after `federate` returned reaches what was attached elsewhere."""
    _, there = join()
    got = collect(there, "prices")
    join()[1].get("prices")  # a third node, to see that only one copy comes
    _, here = join()
    here.get("prices").send({"px": 1})
    eventually(lambda: got)
    assert got == [{"px": 1}]


def test_wait_ready_puts_interest_in_force_everywhere(join: Joiner) -> None:
    """What a peer sends after our `wait_ready` reaches the tasks attached before it."""
    _, there = join()
    node, here = join()
    for n in range(20):
        got = collect(here, f"late{n}")
        node.wait_ready()
        there.get(f"late{n}").send(n)
        eventually(lambda got=got, n=n: got == [n])


def test_wait_subscribers_counts_interested_nodes(join: Joiner) -> None:
    """`wait_subscribers` returns once so many nodes will receive what is sent."""
    node, here = join()
    with pytest.raises(zexchange.NotReady, match="0 of 1 nodes receive 'x'"):
        node.wait_subscribers("x", 1, timeout=0.05)
    others = [collect(join()[1], "x") for _ in range(3)]
    node.wait_subscribers("x", 3)
    here.get("x").send("hello")
    eventually(lambda: all(got == ["hello"] for got in others))


def test_what_peers_listen_to_instead_is_said(join: Joiner) -> None:
    """Where nobody receives a name, the error says what peers listen to, or that there are none."""
    node, _ = join()
    with pytest.raises(zexchange.NotReady, match="nobody else is in it"):
        node.wait_subscribers("prices", 1, timeout=0)
    with pytest.raises(zexchange.NotReady, match="nobody else is in it"):
        node.wait_peers(1, timeout=0)
    got = collect(join()[1], "price")
    node.wait_subscribers("price", 1)
    with pytest.raises(zexchange.NotReady, match="its peers listen to 'price'"):
        node.wait_subscribers("prices", 1, timeout=0)
    with pytest.raises(zexchange.NotReady, match=r"1 of 2 nodes receive 'price' after 0.5 s$"):
        node.wait_subscribers("price", 2, timeout=0.5)
    assert not got


def test_a_message_arrives_once_at_local_and_remote_tasks(join: Joiner) -> None:
    """The sender's own tasks get a message from `send` itself, and never again from the wire."""
    node, here = join()
    own = collect(here, "x")
    other = collect(join()[1], "x")
    node.wait_subscribers("x", 1)
    for n in range(100):
        here.get("x").send(n)
    node.flush()
    assert own == other == list(range(100))


def test_patterns_receive_names_first_used_later(join: Joiner) -> None:
    """A remote `match` covers exchanges that are made after it."""
    _, there = join()
    got: list[object] = []
    task = zexchange.to_call(got.append)
    there.match("prices.**").attach(task, names=True)
    node, here = join()
    here.get("prices.nyse.aapl").send(1)
    here.get("prices").send(2)
    here.get("pricesx").send(3)
    node.flush()
    assert sorted(got) == [("prices", 2), ("prices.nyse.aapl", 1)]


def test_name_and_pattern_cover_give_one_copy(join: Joiner) -> None:
    """A name that is covered by itself and by a pattern gives each task one copy."""
    node, here = join()
    _, there = join()
    got = collect(there, "a.b")
    seen: list[object] = []
    there.match("a.*").attach(zexchange.to_call(seen.append))
    node.wait_subscribers("a.b", 1)
    here.get("a.b").send(1)
    node.flush()
    assert got == [1]
    assert seen == [1]


def test_detached_and_attached_again_gets_what_is_sent_while_attached(join: Joiner) -> None:
    """Each message sent while attached (and ready) arrives once; those in between do not."""
    sender, here = join()
    receiver, there = join()
    exchange, got = there.get("x"), []
    task = zexchange.to_call(got.append)
    expected = []
    for n in range(10):
        exchange.attach(task)
        receiver.wait_ready()
        here.get("x").send(("on", n))
        expected.append(("on", n))
        sender.flush()
        exchange.detach(task)
        eventually(lambda: not sender.peers[0].interest)
        here.get("x").send(("off", n))
    assert got == expected


def test_nobody_interested_costs_no_frame(join: Joiner) -> None:
    """A bridge that nobody remote listens to neither encodes nor sends."""
    node, here = join()
    join()
    node.wait_peers(1)
    here.get("x").send(object())  # cannot be encoded, and need not be
    assert node.stats().sent == {}


def test_unencodable_messages_reach_local_tasks_and_raise(join: Joiner) -> None:
    """Every local task is served, then `send` raises, naming the exchange and the path."""
    node, here = join()
    collect(join()[1], "x")
    own = collect(here, "x")
    node.wait_subscribers("x", 1)
    with pytest.raises(zexchange.EncodeError, match=r"exchange 'x': msg\[\"a\"\]\[1\]"):
        here.get("x").send({"a": [1, object()]})
    assert len(own) == 1


def test_the_question_goes_before_the_answer(join: Joiner) -> None:
    """A task that answers on the same exchange from inside `send`: peers see both in order."""
    node, here = join()
    got = collect(join()[1], "talk")
    talk = here.get("talk")

    @talk.handler
    def answer(msg: str) -> None:
        if msg.startswith("q"):
            talk.send("a" + msg[1:])

    node.wait_subscribers("talk", 1)
    for n in range(50):
        talk.send(f"q{n}")
    node.flush()
    assert got == [word + str(n) for n in range(50) for word in "qa"]


def test_threads_that_send_at_once_keep_their_order(join: Joiner) -> None:
    """Order per sender and exchange holds with eight threads that send at once."""
    node, here = join()
    got = collect(join()[1], "x")
    node.wait_subscribers("x", 1)

    def work(thread: int) -> None:
        for n in range(500):
            here.get("x").send((thread, n))

    threads = [threading.Thread(target=work, args=(t,)) for t in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    node.flush()
    assert len(got) == 4000
    for t in range(8):
        assert [n for thread, n in got if thread == t] == list(range(500))


def test_the_same_name_gives_the_same_node(rendezvous: object) -> None:
    """Called again, `federate` returns the same node, which closes with its last user."""
    registry = Registry()
    first = federate("same", registry=registry)
    second = federate("same", registry=registry)
    assert first is second
    first.close()
    assert first.peers == ()
    second.close()
    with pytest.raises(zexchange.Closed):
        _ = second.peers
    second.close()


def test_other_arguments_for_the_same_node_are_refused(join: Joiner) -> None:
    """A second call with different explicit arguments is an error that names them."""
    registry = Registry()
    with federate("same", registry=registry, label="one"):
        with pytest.raises(ValueError, match="other label, listen"):
            federate("same", registry=registry, label="two", listen="tcp://127.0.0.1:0")


def test_only_chosen_exchanges_take_part(join: Joiner) -> None:
    """`exchanges=` keeps all other names local, in both directions."""
    node, here = join(exchanges="pub.**")
    _, there = join()
    public, private = collect(there, "pub.x"), collect(there, "own")
    back = collect(here, "own")
    node.wait_subscribers("pub.x", 1)
    here.get("pub.x").send(1)
    here.get("own").send(2)
    there.get("own").send(3)
    node.flush()
    assert public == [1]
    assert private == [3]
    assert back == [2]


def test_on_windows_federate_says_that_it_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is opened."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(Unreachable, match="not on Windows"):
        federate("fed", registry=Registry())


def test_waiting_on_the_data_thread_is_refused(join: Joiner) -> None:
    """A synchronous wait inside a task that a peer's message runs would wait for itself."""
    node, here = join()
    other, there = join()
    errors: list[Exception] = []

    @there.get("x").handler
    def task(msg: object) -> None:
        try:
            other.flush()
        except RuntimeError as error:
            errors.append(error)

    node.wait_subscribers("x", 1)
    here.get("x").send(1)
    eventually(lambda: errors)
    assert "wait for itself" in str(errors[0])


def test_waiting_in_a_running_event_loop_is_refused(join: Joiner) -> None:
    """A synchronous wait in a coroutine raises at once; in a thread of its own it works."""
    node, _ = join()

    async def main() -> None:
        with pytest.raises(RuntimeError, match="event loop"):
            node.wait_ready()
        await asyncio.to_thread(node.wait_ready)

    asyncio.run(main())


def test_a_task_that_fails_is_logged_and_robs_nobody(
    join: Joiner, caplog: pytest.LogCaptureFixture
) -> None:
    """A message that arrived from a peer has no caller: the error is logged and counted."""
    node, here = join()
    _, there = join()

    @there.get("x").handler
    def bad(msg: object) -> None:
        raise ValueError("bad task")

    got = collect(there, "x")
    node.wait_subscribers("x", 1)
    with caplog.at_level(logging.ERROR, logger="zexchange"):
        here.get("x").send(1)
        here.get("x").send(2)
        node.flush()
    assert got == [1, 2]
    assert there.get("x").stats().errors == 2
    assert any("'x'" in record.getMessage() for record in caplog.records)


def test_closing_from_inside_a_task_hangs_nothing(join: Joiner) -> None:
    """A task that closes the node on its data thread ends the node."""
    sender, here = join()
    other, there = join()
    closed = threading.Event()

    @there.get("x").handler
    def task(msg: object) -> None:
        other.close()
        closed.set()

    sender.wait_subscribers("x", 1)
    here.get("x").send(1)
    assert closed.wait(10)
    eventually(lambda: not sender.peers)


def test_goodbye_is_told_at_once(join: Joiner) -> None:
    """A node that closes has left with reason ``bye`` for its peers, well before any timeout."""
    node, _ = join()
    events: list[object] = []
    node.events.handler(events.append)
    other, _ = join()
    node.wait_peers(1)
    other.close()
    eventually(lambda: any(isinstance(e, zexchange.PeerLeft) for e in events))
    joined, left = events
    assert isinstance(joined, zexchange.PeerJoined)
    assert isinstance(left, zexchange.PeerLeft)
    assert left.reason == "bye"
    assert node.peers == ()


def test_who_was_found_by_federate_is_a_peer_and_no_event(join: Joiner) -> None:
    """A task that is attached afterwards is told of those who come later alone."""
    there, _ = join()
    node, _ = join()
    events: list[object] = []
    node.events.handler(events.append)
    assert [peer.id for peer in node.peers] == [there.id]
    later, _ = join()
    eventually(lambda: events)
    assert [event.peer for event in events if isinstance(event, zexchange.PeerJoined)] == [later.id]


def test_a_list_may_be_changed_right_after_send(join: Joiner) -> None:
    """It is encoded inside `send`: other processes get what it was."""
    node, here = join()
    got = collect(join()[1], "x")
    node.wait_subscribers("x", 1)
    msg = {"n": [0]}
    for n in range(100):
        msg["n"][0] = n
        here.get("x").send(msg)
    msg.clear()
    node.flush()
    assert got == [{"n": [n]} for n in range(100)]


def test_flush_says_who_has_not_acknowledged(join: Joiner) -> None:
    """A flush that times out names the peer whose task holds things up."""
    node, here = join()
    _, there = join()
    release = threading.Event()
    there.get("x").handler(lambda msg: release.wait(20))
    node.wait_subscribers("x", 1)
    here.get("x").send(1)
    with pytest.raises(zexchange.NotReady, match="not acknowledged by"):
        node.flush(timeout=0.2)
    release.set()
    node.flush()


def test_a_task_that_holds_the_data_thread_is_named(
    join: Joiner, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch that takes over a second is named in a warning and in the statistics."""
    node, here = join()
    receiver, there = join()
    release = threading.Event()
    there.get("slow").handler(lambda msg: release.wait(20))
    node.wait_subscribers("slow", 1)
    with caplog.at_level(logging.WARNING, logger="zexchange"):
        here.get("slow").send(1)
        eventually(lambda: receiver.stats().slow_tasks)
        release.set()
    assert "'slow'" in next(iter(receiver.stats().slow_tasks))
    eventually(lambda: any("held the data thread" in r.getMessage() for r in caplog.records))


def test_statistics_add_up(join: Joiner) -> None:
    """What one side has sent is what the other has received, in the statistics too."""
    node, here = join()
    receiver, there = join()
    collect(there, "x")
    node.wait_subscribers("x", 1)
    for n in range(1000):
        here.get("x").send(n)
    node.flush()
    assert node.stats().sent == {"x": 1000}
    assert 1 <= node.stats().frames <= 1000
    received = receiver.stats().received["x", node.id]
    assert (received.received, received.duplicates, received.lost) == (1000, 0, 0)


def test_thousands_of_exchanges_all_receive(join: Joiner) -> None:
    """8000 exchanges attached at once all get their first message."""
    node, here = join()
    _, there = join()
    got: list[object] = []
    names = [f"many.{n}" for n in range(8000)]
    for name in names:
        there.get(name).handler(got.append)
    eventually(lambda: len(node.peers[0].interest) == 8000)
    node.wait_subscribers(names[-1], 1, patience())
    for name in names:
        here.get(name).send(name)
    node.flush(patience())
    assert sorted(got) == sorted(names)


def test_closing_is_bounded_by_its_timeout(join: Joiner) -> None:
    """`close` comes back when a peer's task has not taken what was sent."""
    node, here = join()
    _, there = join()
    release = threading.Event()
    there.get("x").handler(lambda msg: release.wait())
    node.wait_subscribers("x", 1)
    here.get("x").send(1)
    closing = threading.Thread(target=node.close, args=(0.3,))
    closing.start()
    closing.join(patience())
    closed = not closing.is_alive()
    release.set()
    assert closed


def test_many_federations_do_not_meet(join: Joiner) -> None:
    """Nodes of different federations on one host share nothing."""
    node, here = join("one")
    got = collect(join("two")[1], "x")
    with pytest.raises(zexchange.NotReady):
        node.wait_peers(1, timeout=0.3)
    here.get("x").send(1)
    assert got == []


def test_looking_at_a_node(join: Joiner) -> None:
    """`peers`, `id`, `endpoints`, `bridge` and the repr say who is there."""
    node, here = join(label="me")
    other, there = join(label="you")
    here.get("x")
    collect(there, "x")
    node.wait_subscribers("x", 1)
    node.wait_peers(1)
    (peer,) = node.peers
    assert (peer.id, peer.name, peer.interest, peer.ready) == (other.id, "you", ("x",), True)
    assert abs(peer.since - time.time()) < 60
    assert node.endpoints[0].startswith("ipc://")
    assert repr(node._running().bridges.get("x")) == "<Bridge 'x' open>"
    assert repr(node._running().bridges.get("y")) == "<Bridge 'y' idle>"
    assert "peers=1" in repr(node)


def test_a_task_that_exits_does_not_end_the_data_thread(join: Joiner) -> None:
    """`sys.exit` in a task is an error of that task: everybody else is served on."""
    node, here = join()
    _, there = join()
    there.get("x").handler(lambda msg: sys.exit(1))
    got = collect(there, "x")
    node.wait_subscribers("x", 1)
    for n in range(3):
        here.get("x").send(n)
    node.flush()
    assert got == [0, 1, 2]


def test_closing_ends_every_wait(join: Joiner) -> None:
    """Whoever waits for something of a node that is closed meanwhile is told so at once."""
    node, _ = join()
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            node.wait_peers(5, timeout=PATIENCE)
        except BaseException as error:
            errors.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    engine = node._engine
    assert engine is not None
    eventually(lambda: engine.changed._waiters)  # type: ignore[attr-defined]
    node.close()
    waiting.join(timeout=PATIENCE / 2)
    assert [type(error) for error in errors] == [Closed]


def test_an_interrupted_join_leaves_nothing_behind(
    join: Joiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while federate waits for others closes the node again."""
    started: list[Node] = []

    def interrupted(self: Node) -> None:
        started.append(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(Node, "_join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        join("elsewhere")
    (node,) = started
    assert node._engine is None
    with pytest.raises(Closed):
        _ = node.peers


def test_joining_holds_up_nobody_else(join: Joiner, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one call of federate waits for its peers, others come and go."""
    waiting, resume = threading.Event(), threading.Event()
    wait = Node._join

    def slowly(self: Node) -> None:
        if self.name == "slow":
            waiting.set()
            resume.wait(PATIENCE)
        wait(self)

    monkeypatch.setattr(Node, "_join", slowly)
    slow = threading.Thread(target=lambda: join("slow"))
    slow.start()
    assert waiting.wait(PATIENCE)
    other: list[Node] = []
    quick = threading.Thread(target=lambda: other.append(join("quick")[0]))
    quick.start()
    quick.join(PATIENCE / 2)
    assert other
    resume.set()
    slow.join()


def test_an_effect_that_fails_takes_no_other_along(
    join: Joiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of sockets for one endpoint, the node still does what else is to be done."""
    node, _ = join()
    engine = node._engine
    assert engine is not None
    dial = engine._controls.dial

    def fail(endpoint: str, key: bytes = b"", turn: int = 0) -> None:
        if "127.0.0.1" in endpoint:
            raise OSError("too many open files")
        dial(endpoint, key, turn)

    def both() -> None:
        for endpoint in ("tcp://127.0.0.1:9", "tcp://localhost:9"):
            engine.session.candidates.add(endpoint, "static", 0.0)

    monkeypatch.setattr(engine._controls, "dial", fail)
    on_control(node, both)
    with engine.changed:  # held by the control thread until its turn is over
        assert "tcp://localhost:9" in engine._controls.endpoints


def test_who_joins_after_a_task_was_attached_knows_of_it(join: Joiner) -> None:
    """Even if the joiner's hello and the attachment reach the other control thread together."""
    first, there = join()
    engine = first._engine
    assert engine is not None
    got: list[object] = []
    joined: list[tuple[zexchange.Node, zexchange.Registry]] = []
    # Holds the control thread up in the middle of a turn, where the hello is read next.
    with engine.changed:
        joiner = threading.Thread(target=lambda: joined.append(join()))
        joiner.start()
        eventually(
            lambda: engine.places._rendezvous and len(list(engine.places._rendezvous.others()))
        )
        there.get("x").handler(got.append)
    joiner.join(30)
    node, here = joined[0]
    here.get("x").send(1)
    node.flush()
    assert got == [1]

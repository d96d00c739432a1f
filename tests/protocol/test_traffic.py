"""What a node tells of its traffic, and the rates that another one makes of that."""

from collections.abc import Callable, Iterable
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support import examples
from zexchange.protocol.traffic import counts as counts_module
from zexchange.protocol.traffic import table as table_module
from zexchange.protocol.traffic.counts import Counts
from zexchange.protocol.traffic.table import Told, TrafficTable
from zexchange.protocol.traffic.traffic import Member, Traffic, traffic_of
from zexchange.protocol.wire.control import control_frame, read_control
from zexchange.protocol.wire.limits import MAX_COUNTED
from zexchange.protocol.wire.messages import Count, Counted, ExchangeCount, Label

ME, NODE, OTHER = b"m" * 16, b"n" * 16, b"o" * 16
NAMES = ("a", "a.x", "b", "c", "z.é")


def everything(name: str) -> bool:
    return True


def answer(counts: Counts, asked: Count, node: bytes = NODE) -> Counted:
    """What a node answers, as it comes off the wire."""
    rows, more = counts.part(everything, asked.began, asked.look, asked.after)
    told = Counted(node, asked.request, counts.began, counts.look, counts.at, rows, more)
    read = read_control(control_frame(told))
    assert isinstance(read, Counted)
    return read


def look(table: TrafficTable, counts: Counts, node: bytes = NODE) -> Told:
    """Look at a node, with all parts of its answer."""
    question = table.look(node, 0.0)
    while question is not None:
        question = table.take(node, answer(counts, question, node), 0.0)
    return table.told[node]


def begun(rows: Iterable[ExchangeCount] = (), at: float = 1.0) -> Counts:
    counts = Counts()
    counts.begin()
    counts.take(rows, at)
    return counts


def new_table() -> TrafficTable:
    return TrafficTable(ME, "**", count(1))


def rows(**sent: int) -> list[ExchangeCount]:
    return [ExchangeCount(name, number, 10 * number) for name, number in sent.items()]


def shown(table: TrafficTable, *nodes: bytes) -> Traffic:
    members = [Member(node, Label("h", 1), 0.0, True, True) for node in nodes or (NODE,)]
    return traffic_of(members, table.told, lambda name: ())


# ------------------------------------------------------------------------------ examples


def test_the_first_look_has_no_rates() -> None:
    """Counts are known after one look, rates after two."""
    table, counts = new_table(), begun(rows(a=5))
    assert look(table, counts).rates is None
    (row,) = shown(table).exchanges
    assert (row.messages, row.bytes, row.messages_per_second) == (5, 50, None)
    assert shown(table).nodes[0].messages_per_second is None


def test_a_rate_is_by_the_clock_of_the_sender() -> None:
    """It is the difference of two counts, divided by the time between them where they were made."""
    table, counts = new_table(), begun(rows(a=5), at=100.0)
    look(table, counts)
    counts.take(rows(a=25), at=104.0)
    look(table, counts)
    (row,) = shown(table).exchanges
    assert (row.messages_per_second, row.bytes_per_second) == (5.0, 50.0)
    assert shown(table).nodes[0].messages_per_second == 5.0


def test_only_what_has_changed_is_told_again() -> None:
    """An exchange on which nothing flows is told once, and its rate is 0 from then on."""
    table, counts = new_table(), begun(rows(a=5, b=7))
    look(table, counts)
    counts.take(rows(a=6, b=7), at=2.0)
    question = table.look(NODE, 0.0)
    assert question is not None
    told = answer(counts, question)
    assert [row.name for row in told.exchanges] == ["a"]
    table.take(NODE, told, 0.0)
    assert [(e.name, e.messages_per_second) for e in shown(table).exchanges] == [
        ("a", 1.0),
        ("b", 0.0),
    ]


def test_a_look_that_is_used_again_changes_nothing() -> None:
    """Two questions that get the same look do not make rates of no time at all."""
    table, counts = new_table(), begun(rows(a=5))
    look(table, counts)
    counts.take(rows(a=6), at=2.0)
    look(table, counts)
    look(table, counts)
    assert shown(table).exchanges[0].messages_per_second == 1.0


def test_a_new_exchange_has_a_rate_at_once() -> None:
    """It had no messages at the look before."""
    table, counts = new_table(), begun(rows(a=5))
    look(table, counts)
    counts.take(rows(a=5, b=8), at=3.0)
    look(table, counts)
    assert shown(table).exchanges[1].messages_per_second == 4.0


def test_a_counter_that_restarts_counts_from_0() -> None:
    """A count that has become smaller is what has flowed since."""
    table, counts = new_table(), begun(rows(a=500))
    look(table, counts)
    counts.take(rows(a=3), at=2.0)
    look(table, counts)
    assert shown(table).exchanges[0].messages_per_second == 3.0


def test_a_new_counting_has_no_rates() -> None:
    """Bytes of another counting are no basis for a rate, and what was told before is void."""
    table, counts = new_table(), begun(rows(a=5, b=1))
    look(table, counts)
    counts.begin()
    counts.take(rows(a=9), at=9.0)
    told = look(table, counts)
    assert told.rates is None
    assert list(told.rows) == ["a"]


def test_what_is_forgotten_is_forgotten_by_those_who_ask() -> None:
    """Also by one that missed the look at which it went, and never told to a newcomer."""
    table, counts = new_table(), begun(rows(a=5, b=1))
    look(table, counts)
    counts.take(rows(a=5), at=2.0)
    counts.take(rows(a=5), at=3.0)
    assert list(look(table, counts).rows) == ["a"]
    assert list(look(new_table(), counts).rows) == ["a"]
    assert counts.flowing == 1
    counts.take(rows(a=5, b=2), at=4.0)
    assert list(look(table, counts).rows) == ["a", "b"]


def test_very_many_that_are_forgotten_begin_a_new_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of what is gone are not kept without end."""
    monkeypatch.setattr(counts_module, "GONE_MOST", 3)
    table, counts = new_table(), begun(rows(a=1, b=1, c=1, d=1, e=1))
    look(table, counts)
    counts.take(rows(e=1), at=2.0)
    assert len(counts) == 1
    assert list(look(table, counts).rows) == ["e"]


def test_many_exchanges_come_in_parts() -> None:
    """Each part has up to a thousand rows, and a rate has the moment of its part."""
    many = [ExchangeCount(f"x.{n:05}", 10) for n in range(2500)]
    table, counts, parts = new_table(), begun(many), 0
    question = table.look(NODE, 0.0)
    while question is not None:
        told = answer(counts, question)
        assert 0 < len(told.exchanges) <= MAX_COUNTED
        assert len(control_frame(told)) < 64 << 10
        question, parts = table.take(NODE, told, 0.0), parts + 1
    assert parts == 3
    assert len(table.told[NODE].rows) == 2500

    question = table.look(NODE, 0.0)
    at = 2.0
    while question is not None:  # another look for each part
        counts.take([row._replace(sent=10 * int(at)) for row in many], at)
        question = table.take(NODE, answer(counts, question), 0.0)
        at += 1.0
    assert {e.messages_per_second for e in shown(table).exchanges} == {10.0}


def parts_of(table: TrafficTable, counts: Counts, between: Callable[[], None]) -> None:
    """Look at a node with something done after each part of its answer."""
    question = table.look(NODE, 0.0)
    while question is not None:
        told = answer(counts, question)
        between()
        question = table.take(NODE, told, 0.0)


def test_what_changes_between_two_parts_is_told_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next look goes on from that of the first part."""
    monkeypatch.setattr(counts_module, "MAX_COUNTED", 1)
    table, counts = new_table(), begun(rows(a=1, b=1))
    parts_of(table, counts, lambda: counts.take(rows(a=9, b=9), counts.at + 1))
    assert {name: row.sent for name, row in table.told[NODE].rows.items()} == {"a": 1, "b": 9}
    look(table, counts)
    assert {name: row.sent for name, row in table.told[NODE].rows.items()} == {"a": 9, "b": 9}


def test_parts_of_the_same_look_as_before_keep_their_rates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If one part is of a new look and another one is not, each has the rate of its own."""
    monkeypatch.setattr(counts_module, "MAX_COUNTED", 1)
    table, counts = new_table(), begun(rows(a=1, b=1, c=1))
    look(table, counts)
    counts.take(rows(a=3, b=3, c=3), at=2.0)
    look(table, counts)
    # The first part is asked for once more: its `a` is of the same moment, the rest of a later one.
    looked = table.look(NODE, 0.0)
    assert looked is not None
    told = Counted(NODE, looked.request, counts.began, counts.look, 2.0, (), "a")
    following = table.take(NODE, told, 0.0)
    counts.take(rows(a=3, b=3, c=4), at=3.0)
    while following is not None:
        following = table.take(NODE, answer(counts, following), 0.0)
    rates = {e.name: e.messages_per_second for e in shown(table).exchanges}
    assert rates == {"a": 2.0, "b": 0.0, "c": 1.0}


def test_the_parts_of_a_new_counting_have_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look of another counting says nothing of this one, whatever its number."""
    monkeypatch.setattr(counts_module, "MAX_COUNTED", 1)
    table, counts = new_table(), begun(rows(a=1, b=1))
    counts.take(rows(a=2, b=1), at=2.0)
    look(table, counts)
    counts.begin()
    for n in range(3):
        counts.take(rows(a=10 + n, b=10), at=3.0 + n)
    assert set(look(table, counts).rows) == {"a", "b"}
    assert table.told[NODE].rows["b"].sent == 10


def test_answers_that_come_late_or_twice_are_dropped() -> None:
    """Only the answer to the last question counts."""
    table, counts = new_table(), begun(rows(a=1))
    first = table.look(NODE, 0.0)
    assert first is not None
    late = answer(counts, first)
    table.take(NODE, late, 0.0)
    counts.take(rows(a=4), at=2.0)
    second = table.look(NODE, 1.0)
    assert second is not None
    table.take(NODE, late, 1.0)
    assert table.looking(NODE)
    table.take(NODE, answer(counts, second), 1.0)
    table.take(NODE, answer(counts, second), 1.0)
    assert shown(table).exchanges[0].messages_per_second == 3.0


def test_rows_of_a_long_name_make_small_parts() -> None:
    """A part has some 48 KiB, whatever the names."""
    counts = begun(ExchangeCount("é" * 100 + str(n), 1) for n in range(1000))
    found, more = counts.part(everything, 0, 0, "")
    assert more
    told = Counted(NODE, 1, counts.began, counts.look, counts.at, found, more)
    assert len(control_frame(told)) < 64 << 10


def test_an_answer_that_never_ends_is_given_up() -> None:
    """A node may name parts without end: after some the look is over, and its answer dropped."""
    table = new_table()
    question, parts = table.look(NODE, 0.0), 0
    while question is not None:
        told = Counted(NODE, question.request, 1, 1, 1.0, (), f"{parts:06}x")
        question, parts = table.take(NODE, told, 0.0), parts + 1
    assert parts == table_module.PARTS_MOST
    assert NODE not in table.told
    assert table.look(NODE, 0.0) is not None


def test_a_part_that_goes_back_is_the_last() -> None:
    """A name that is not after the last one does not lead on."""
    table = new_table()
    question = table.look(NODE, 0.0)
    assert question is not None
    question = table.take(NODE, Counted(NODE, question.request, 1, 1, 1.0, (), "m"), 0.0)
    assert question is not None
    assert table.take(NODE, Counted(NODE, question.request, 1, 1, 1.0, (), "m"), 0.0) is None
    assert not table.looking(NODE)


def test_a_counting_that_begins_again_and_again_is_given_up() -> None:
    """A node that restarts between two parts is asked once more, but not without end."""
    table = new_table()
    question, asked = table.look(NODE, 0.0), 0
    while question is not None:
        asked += 1
        told = Counted(NODE, question.request, asked, 1, 1.0, (), f"{asked:06}")
        question = table.take(NODE, told, 0.0)
    assert 2 < asked < 20


def test_exchanges_of_one_node_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node may make up any number of names."""
    monkeypatch.setattr(table_module, "EXCHANGES_MOST", 3)
    table = new_table()
    assert len(look(table, begun(rows(a=1, b=1, c=1, d=1, e=1))).rows) == 3


def test_nodes_that_do_not_answer_are_asked_again() -> None:
    """The same question, under the same number, until the answer is there or the node has left."""
    table = new_table()
    question = table.look(NODE, 0.0)
    assert list(table.due(0.4)) == []
    assert list(table.due(0.5)) == [(NODE, question)]
    assert list(table.due(0.6)) == []
    assert table.look(NODE, 0.7) is None
    table.leave(NODE)
    assert list(table.due(9.0)) == []
    assert not table.nodes()


def test_counts_of_several_nodes_are_added() -> None:
    """An exchange has the messages of all senders; the slowest receiver is that of the worst."""
    table = new_table()
    one = begun([ExchangeCount("a", 5, 50, unacknowledged=2, slowest=b"1" * 16)])
    two = begun([ExchangeCount("a", 7, 70, 3, 1, 4, unacknowledged=9, slowest=b"2" * 16)])
    for counts, node in ((one, NODE), (two, OTHER)):
        look(table, counts, node)
    (row,) = shown(table, NODE, OTHER).exchanges
    assert row.senders == (NODE.hex(), OTHER.hex())
    assert (row.messages, row.bytes, row.received, row.lost, row.conflated) == (12, 120, 3, 1, 4)
    assert (row.unacknowledged, row.slowest) == (9, (b"2" * 16).hex())


# ----------------------------------------------------------------------------- any order


class Looking(RuleBasedStateMachine):
    """A node that counts and is looked at, while messages are lost, late, and come twice."""

    @initialize()
    def begin(self) -> None:
        self.counts = begun()
        self.now = 1.0
        self.truth: dict[str, int] = {}
        self.table = new_table()
        self.questions: list[Count] = []
        self.answers: list[Counted] = []
        self.history = [(self.counts.began, self.now, dict(self.truth))]

    def _take(self) -> None:
        self.counts.take(rows(**self.truth), self.now)
        self.history.append((self.counts.began, self.now, dict(self.truth)))

    @rule(name=st.sampled_from(NAMES), more=st.integers(1, 1000))
    def send(self, name: str, more: int) -> None:
        self.truth[name] = self.truth.get(name, 0) + more

    @rule(name=st.sampled_from(NAMES))
    def forget(self, name: str) -> None:
        self.truth.pop(name, None)

    @rule(seconds=st.sampled_from((0.25, 1.0, 8.0)))
    def count_now(self, seconds: float) -> None:
        self.now += seconds
        self._take()

    @rule()
    def begin_again(self) -> None:
        self.now += 1.0
        self.counts.begin()
        self._take()

    @rule()
    def look(self) -> None:
        question = self.table.look(NODE, self.now)
        if question is not None:
            self.questions.append(question)

    @rule()
    def ask_again(self) -> None:
        self.questions.extend(q for _, q in self.table.due(self.now + 100))

    @precondition(lambda self: self.questions)
    @rule(data=st.data(), stays=st.booleans(), parts=st.integers(1, 3))
    def question_arrives(self, data: st.DataObject, stays: bool, parts: int) -> None:
        at = data.draw(st.integers(0, len(self.questions) - 1))
        question = self.questions[at] if stays else self.questions.pop(at)
        usual, counts_module.MAX_COUNTED = counts_module.MAX_COUNTED, parts  # type: ignore[attr-defined]
        try:
            self.answers.append(answer(self.counts, question))
        finally:
            counts_module.MAX_COUNTED = usual  # type: ignore[attr-defined]

    @precondition(lambda self: self.answers)
    @rule(data=st.data(), stays=st.booleans())
    def answer_arrives(self, data: st.DataObject, stays: bool) -> None:
        at = data.draw(st.integers(0, len(self.answers) - 1))
        told = self.answers[at] if stays else self.answers.pop(at)
        question = self.table.take(NODE, told, self.now)
        if question is not None:
            self.questions.append(question)

    @rule()
    def leave(self) -> None:
        self.table.leave(NODE)

    @invariant()
    def what_is_shown_was_true(self) -> None:
        """Each row is the count of the exchange at its moment, and each rate one between two."""
        told = self.table.told.get(NODE) if hasattr(self, "table") else None
        if told is None:
            return
        for name, row in told.rows.items():
            at = told.moments.of(name)
            assert (told.began, at, row.sent) in [(b, t, c.get(name)) for b, t, c in self.history]
        for name, rate in (told.rates or {}).items():
            assert rate.sent >= 0, name
            assert rate.bytes == pytest.approx(10 * rate.sent), name

    def teardown(self) -> None:
        """When nothing is lost any longer, two looks show exactly what there is."""
        if not hasattr(self, "table"):
            return
        self.now += 1.0
        self._take()
        self.table.leave(NODE)
        look(self.table, self.counts)
        before = dict(self.truth)
        self.truth = {name: sent + 5 for name, sent in self.truth.items()}
        self.now += 2.0
        self._take()
        told = look(self.table, self.counts)
        assert {name: row.sent for name, row in told.rows.items()} == self.truth
        assert told.rates == dict.fromkeys(before, (2.5, 25.0, 0.0))


TestLooking = Looking.TestCase
TestLooking.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(NAMES), st.integers(0, 5), max_size=5),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 8),
    st.integers(0, 3),
)
def test_a_part_has_what_changed_since_a_look(
    looks: list[dict[str, int]], since: int, began: int
) -> None:
    """With any look and any counting, those are at least the rows that differ from then."""
    counts = Counts()
    counts.begin()
    for at, sent in enumerate(looks):
        counts.take(rows(**sent), float(at))
    found, _ = counts.part(everything, began, since, "")
    told = {row.name: row.sent for row in found}
    known = looks[since - 1] if began == counts.began and 0 < since <= len(looks) else {}
    if began == counts.began and since > len(looks):
        return  # it was never told such a look
    for name, sent in looks[-1].items():
        if sent != known.get(name, 0):
            assert told[name] == sent
    for name in known.keys() - looks[-1].keys():
        if known[name]:
            assert told[name] == 0
    assert [row.name for row in found] == sorted(told)


def test_patterns_filter() -> None:
    """Exchanges that are not asked for are not told."""
    counts = begun(rows(a=1, b=2))
    covers: Callable[[str], bool] = "b".__eq__
    found, _ = counts.part(covers, 0, 0, "")
    assert [row.name for row in found] == ["b"]

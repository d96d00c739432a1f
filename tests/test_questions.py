"""The life of a request, under every interleaving of joins, deaths, detaches and cuts."""

from collections.abc import Hashable, Iterable
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from zexchange.questions import Outcome, Question, Questions

VALUE = Outcome("value", 1)
R = TypeVar("R", bound=Hashable)


def asked(asker: Questions[R], responders: Iterable[R], until: float) -> Question[R]:
    """Begin a question, and return it."""
    question = Question(responders, until)
    asker.ask(question)
    return question


class Asker(RuleBasedStateMachine):
    """One asker; the responders come and go, and the wire loses, delays and repeats answers."""

    questions_made = Bundle("questions_made")

    def __init__(self) -> None:
        super().__init__()
        self.asker: Questions[int] = Questions()
        self.there: list[int] = []
        self.next = self.late = 0
        self.last: int | None = None
        self.waits: dict[int, set[int]] = {}
        self.got: dict[int, dict[int, str]] = {}
        self.until: dict[int, float] = {}
        self.now = 0.0

    @rule()
    def joins(self) -> None:
        """A responder comes."""
        self.there.append(self.next)
        self.next += 1

    @rule(data=st.data())
    def detaches(self, data: st.DataObject) -> None:
        """A responder takes no more questions; what is under way there is still answered."""
        if self.there:
            self.there.remove(data.draw(st.sampled_from(self.there)))

    @rule(data=st.data())
    def dies(self, data: st.DataObject) -> None:
        """A responder is gone, and each question to it hears so, once."""
        if not self.next:
            return
        dead = data.draw(st.integers(0, self.next - 1))
        self.there = [one for one in self.there if one != dead]
        told = {question.number for question in self.asker.lost(dead, "gone")}
        assert told == {number for number, waits in self.waits.items() if dead in waits}
        for number in told:
            self._settled(number, dead, "lost")

    @rule(target=questions_made, patience=st.sampled_from([1.0, 3.0]))
    def asks_one(self, patience: float) -> Question[int] | None:
        """The chosen one is there, and none that is there has fewer under way."""
        if not self.there:
            return None
        chosen = self.asker.choose(self.there, self.last)
        assert chosen in self.there
        fewest = min(map(self._load, self.there))
        assert self._load(chosen) == fewest
        equals = [one for one in self.there if self._load(one) == fewest]
        if self.last in equals and len(equals) > 1:
            assert chosen != self.last
        self.last = chosen
        return self._asked(asked(self.asker, [chosen], self.now + patience))

    @rule(target=questions_made)
    def asks_all(self) -> Question[int] | None:
        """All that are there are asked."""
        if not self.there:
            return None
        return self._asked(asked(self.asker, self.there, self.now + 2.0))

    @rule(question=questions_made, data=st.data())
    def answers(self, question: Question[int] | None, data: st.DataObject) -> None:
        """An answer arrives: for a question that waits for it, or too late, or twice."""
        if question is None:
            return
        number, one = question.number, data.draw(st.integers(0, self.next - 1))
        expected = one in self.waits.get(number, ())
        assert (self.asker.answer(number, one, VALUE) is question) == expected
        if expected:
            self._settled(number, one, "value")
        else:
            self.late += 1

    @rule(question=consumes(questions_made))
    def gives_up(self, question: Question[int] | None) -> None:
        """The asker's time is over, or it was cancelled."""
        if question is not None:
            self.asker.drop(question)
            self.waits.pop(question.number, None)

    @rule(seconds=st.sampled_from([0.5, 2.0]))
    def time_passes(self, seconds: float) -> None:
        """Questions that everybody has forgotten go by themselves."""
        self.now += seconds
        self.asker.expire(self.now)
        for number in [n for n in self.waits if self.until[n] <= self.now]:
            del self.waits[number]

    @invariant()
    def agrees(self) -> None:
        """What is open, busy and late is what it should be, and nothing is kept beyond that."""
        assert len(self.asker) == len(self.waits)
        assert set(self.asker.waited_for) == set().union(*self.waits.values())
        assert all(self.asker.under_way(one) == self._load(one) for one in range(self.next))
        assert self.asker.late == self.late

    def teardown(self) -> None:
        """Each question got each outcome once; when all are gone, no memory is left."""
        for one in range(self.next):
            self.asker.lost(one, "gone")
        assert not len(self.asker)
        assert not self.asker.waited_for

    def _load(self, one: int) -> int:
        return sum(one in waits for waits in self.waits.values())

    def _asked(self, question: Question[int]) -> Question[int]:
        assert question.number not in self.until
        self.waits[question.number] = set(question.waits_for)
        self.until[question.number] = question.until
        self.got[question.number] = {}
        return question

    def _settled(self, number: int, one: int, kind: str) -> None:
        self.waits[number].discard(one)
        if not self.waits[number]:
            del self.waits[number]
        assert one not in self.got[number]
        self.got[number][one] = kind


TestAsker = Asker.TestCase


def test_in_turn_among_equals() -> None:
    """Of responders that are equally busy each is chosen as often as the others."""
    asker, last, chosen = Questions[str](), None, list[str]()
    for _ in range(9):
        last = asker.choose(list("abc"), last)
        chosen.append(last)
    assert chosen == list("abcabcabc")


def test_a_busy_one_is_passed_over() -> None:
    """A responder that has not answered yet is not chosen while another one has less to do."""
    asker = Questions[str]()
    asked(asker, ["a"], 1.0)
    assert [asker.choose(list("ab"), last) for last in (None, "a", "b")] == ["b", "b", "b"]


def test_outcomes_stay_with_their_question() -> None:
    """Each question has its own answers, in the order in which they came."""
    asker = Questions[str]()
    one, two = asked(asker, "ab", 1.0), asked(asker, "ab", 1.0)
    for number, who, value in ((two.number, "b", 2), (one.number, "a", 1), (two.number, "a", 3)):
        asker.answer(number, who, Outcome("value", value))
    assert [(who, outcome.value) for who, outcome in one.outcomes] == [("a", 1)]
    assert [(who, outcome.value) for who, outcome in two.outcomes] == [("b", 2), ("a", 3)]
    assert len(asker) == 1

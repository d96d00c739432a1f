"""Requests: ask one responder, or all that are there, and wait for the answers.

Each request is written once, as a generator of steps: it yields the seconds to wait for its bell,
and, if all are asked, each `Reply`. `ask` and `ask_all` run it on a thread, `RequestsHere` in a
coroutine.

The question is sent on the exchange like any message, so plain subscribers see it. A responder of
this process is called on the asker's thread, as a task would be, or on its event loop.
"""

from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from ..errors import NoResponders, RequestFailed, RequestTimeout, ResponderLost
from ..questions import Outcome, Question
from ..seconds import seconds
from .asking import Asked as Responding
from .asking import Asking, Elsewhere
from .tasks.bell import Bell
from .tasks.noted import NO_HEADERS, Asked, Header, Noted, checked
from .tasks.responder import Responder


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer to `Exchange.request_all`.

    Attributes:
        value: what the responder returned.
        origin: the id of its node, None for this process.
        label: its host, process and name, for people; empty for this process.
    """

    value: Any
    origin: str | None
    label: str


class AskedExchange(Protocol):
    """An exchange, as far as requests use it."""

    name: str

    def _choose(self, there: tuple[Responding, ...]) -> Responding: ...
    def _responding(self) -> tuple[Responding, ...]: ...
    def _send_noted(self, item: Noted) -> None: ...
    @property
    def _asking(self) -> Asking: ...
    def _bell(self) -> Bell: ...
    def _now(self) -> float: ...
    def _refuse_to_wait(self, instead: str) -> None: ...


Step = float | Reply
"""Seconds to wait for the bell; or a reply, if all are asked."""


class Request:
    """One request: what is asked, and how long its caller waits."""

    def __init__(
        self,
        exchange: AskedExchange,
        msg: object,
        headers: Mapping[str, Header] | None,
        timeout: float | None,
        wait: float | None = None,
    ) -> None:
        self._exchange = exchange
        self._msg = msg
        self._headers = NO_HEADERS if headers is None else checked(headers)
        self._timeout = timeout
        self._patience = seconds(timeout)
        self._hope = 0.0 if wait is None else seconds(wait)
        self.bell = exchange._bell()
        self._asking = exchange._asking

    def one(self) -> Generator[Step, None, Any]:
        """Ask one responder; return its answer."""
        exchange, asking = self._exchange, self._asking
        there = exchange._responding()
        if not there:
            there = yield from self._there()
        chosen = exchange._choose(there)
        question = self._begin((chosen,))
        try:
            self._send(question, (chosen,), chosen if isinstance(chosen, Elsewhere) else None)
            while not question.outcomes:
                yield self._left(question, 1)
            return _value(*question.outcomes.popleft())
        finally:
            if question.waits_for:
                asking.drop(question)

    def all(self) -> Generator[Step, None, None]:
        """Ask all responders; yield each reply, then raise what some of them have raised."""
        there = _each_process(self._exchange._responding())
        if not there:
            self._exchange._send_noted(Noted(self._msg, self._headers))
            return
        question, failed, left = self._begin(there), list[Exception](), len(there)
        try:
            self._send(question, there, None, all_elsewhere=True)
            while left:
                while not question.outcomes:
                    yield self._left(question, left)
                who, outcome = question.outcomes.popleft()
                left -= 1
                try:
                    value = _value(who, outcome)
                except ResponderLost:
                    continue  # those that were there have answered or left
                except RequestFailed as error:
                    failed.append(error)
                    continue
                yield _reply(who, value)
        finally:
            self._asking.drop(question)
        if failed:
            _raise(failed, self._exchange.name)

    def _there(self) -> Generator[Step, None, tuple[Responding, ...]]:
        """Return the responders that are there; wait for the first one, if the caller does."""
        exchange = self._exchange
        there = exchange._responding()
        if there or not self._hope:
            return there or self._nobody()
        until = exchange._now() + self._hope
        exchange._asking.hope(self.bell)
        try:
            while not (there := exchange._responding()):
                left = until - exchange._now()
                if left <= 0:
                    self._nobody()
                yield left
        finally:
            exchange._asking.despair(self.bell)
        return there

    def _nobody(self) -> NoReturn:
        raise NoResponders(
            f"nobody answers on exchange {self._exchange.name!r}, in this process or at a peer"
            + (f", after {self._hope:g} s" if self._hope else "")
        )

    def _begin(self, chosen: tuple[Responding, ...]) -> Question[Responding]:
        until = self._exchange._now() + self._patience
        return self._asking.begin(chosen, self.bell, until)

    def _send(
        self,
        question: Question[Responding],
        chosen: tuple[Responding, ...],
        to: Elsewhere | None,
        all_elsewhere: bool = False,
    ) -> None:
        """Send the question, then ask those that are in this process."""
        asking, number = self._asking, question.number
        asked = Asked(number, to) if to is not None or all_elsewhere else None
        self._exchange._send_noted(Noted(self._msg, self._headers, asked))
        for one in chosen:
            if isinstance(one, Responder):
                one.ask(self._msg, lambda outcome, one=one: asking.answered(number, one, outcome))  # type: ignore[misc]

    def _left(self, question: Question[Responding], unanswered: int) -> float:
        """Return how many seconds are left to wait.

        Raises:
            RequestTimeout: none.
        """
        left = question.until - self._exchange._now()
        if left <= 0 and not question.outcomes:
            raise RequestTimeout(
                f"exchange {self._exchange.name!r}: no answer from {unanswered} of those asked"
                f" within {self._timeout:g} s"
            )
        return max(left, 0.0)


def ask(exchange: AskedExchange, request: Request) -> Any:
    """Run a request to one responder on this thread."""
    exchange._refuse_to_wait("await exchange.aio.request(...)")
    steps = request.one()
    try:
        while True:
            step = next(steps)
            assert isinstance(step, float)
            request.bell.wait(step)
    except StopIteration as end:
        return end.value
    finally:
        steps.close()


def ask_all(exchange: AskedExchange, request: Request) -> Generator[Reply, None, None]:
    """Run a request to all responders on this thread; the question is sent at once."""
    exchange._refuse_to_wait("async for reply in exchange.aio.request_all(...)")
    steps = request.all()
    return _replies(request, steps, next(steps, None))


def _replies(
    request: Request, steps: Generator[Step, None, None], step: Step | None
) -> Generator[Reply, None, None]:
    try:
        while step is not None:
            if isinstance(step, Reply):
                yield step
            else:
                request.bell.wait(step)
            step = next(steps, None)
    finally:
        steps.close()


class AsyncExchange:
    """The requests of an exchange, for coroutines on asyncio or trio: `Exchange.aio`."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: AskedExchange) -> None:
        self._exchange = exchange

    def __repr__(self) -> str:
        return f"{self._exchange!r}.aio"

    async def request(
        self,
        msg: object,
        timeout: float | None = 2.0,
        wait: float | None = None,
        *,
        headers: Mapping[str, Header] | None = None,
    ) -> Any:
        """Ask one responder, and return its answer; see `Exchange.request`."""
        request = Request(self._exchange, msg, headers, timeout, wait)
        steps = request.one()
        try:
            while True:
                step = next(steps)
                assert isinstance(step, float)
                await request.bell.wait_here(step)
        except StopIteration as end:
            return end.value
        finally:
            steps.close()

    async def request_all(
        self,
        msg: object,
        timeout: float | None = 1.0,
        *,
        headers: Mapping[str, Header] | None = None,
    ) -> AsyncGenerator[Reply, None]:
        """Ask all responders, and yield their answers; see `Exchange.request_all`."""
        request = Request(self._exchange, msg, headers, timeout)
        steps = request.all()
        try:
            for step in steps:
                if isinstance(step, Reply):
                    yield step
                else:
                    await request.bell.wait_here(step)
        finally:
            steps.close()


def _each_process(there: tuple[Responding, ...]) -> tuple[Responding, ...]:
    """Return the responders to ask, each process elsewhere once, in whatever federations it is."""
    found: dict[object, Responding] = {}
    for one in there:
        found.setdefault(one.process or one if isinstance(one, Elsewhere) else one, one)
    return tuple(found.values())


def _value(who: Responding, outcome: Outcome) -> Any:
    """Return the answer of a responder.

    Raises:
        RequestFailed: it has raised.
        ResponderLost: it has gone.
    """
    if outcome.kind == "value":
        return outcome.value
    if outcome.kind == "failed":
        raise RequestFailed(outcome.error, outcome.text) from outcome.cause
    label = who.label if isinstance(who, Elsewhere) else repr(who)
    raise ResponderLost(
        f"the responder {label} has gone before it answered: {outcome.text}; it may have done"
        " some or all of the work"
    )


def _reply(who: Responding, value: Any) -> Reply:
    if isinstance(who, Elsewhere):
        return Reply(value, who.node.hex(), who.label)
    return Reply(value, None, "")


def _raise(failed: list[Exception], exchange: str) -> NoReturn:
    """Raise a single error as itself, several as a group."""
    if len(failed) == 1:
        raise failed[0]
    raise ExceptionGroup(f"{len(failed)} responders of exchange {exchange!r} failed", failed)

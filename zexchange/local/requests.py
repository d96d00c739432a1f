"""Requests: ask one responder, or all that are there, and wait for the answers.

The steps of a request are written once, in `Request`: a thread and a coroutine differ only in how
they wait for their bell. The waits that few requests make are generators of steps, which yield the
seconds to wait, and, if all are asked, each `Reply`.

The question is sent on the exchange like any message, so plain subscribers see it. A responder of
this process is called on the asker's thread, as a task would be, or on its event loop.

The way of a request to one responder is short of calls: its caller waits for each of them, and
while nothing else happens, when caches are cold, each costs up to a microsecond.
"""

from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass
from functools import partial
from math import inf
from threading import TIMEOUT_MAX
from typing import Any, NoReturn, Protocol

from ..errors import NoResponders, RequestFailed, RequestTimeout, ResponderLost
from ..questions import Outcome, Question
from ..seconds import seconds
from .asking import Asked as Responding
from .asking import Elsewhere
from .interfaces import RegistryCalls
from .tasks.noted import NO_HEADERS, Header, Noted, checked
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

    @property
    def registry(self) -> RegistryCalls:
        """Its registry."""
        ...

    def _choose(self, there: tuple[Responding, ...]) -> Responding: ...
    def _responding(self, instead: str | None = None) -> tuple[Responding, ...]: ...
    def _send_noted(self, item: Noted) -> None: ...


Step = float | Reply
"""Seconds to wait for the bell; or a reply, if all are asked."""


class Request:
    """One request: what is asked, and how long its caller waits.

    Args:
        exchange: on which it is asked.
        msg: the question.
        headers: of the question.
        timeout: as its caller gave it.
        wait: likewise.
    """

    __slots__ = (
        "_exchange", "_hope", "_msg", "_timeout", "asking", "bell", "headers", "patience",
    )  # fmt: skip

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
        self.headers = NO_HEADERS if headers is None else checked(headers)
        self._timeout = timeout
        if type(timeout) in (float, int) and 0 <= timeout <= TIMEOUT_MAX:  # type: ignore[operator]
            self.patience: float = timeout  # type: ignore[assignment]
        else:
            self.patience = max(seconds(timeout), 0.0)
        self._hope = 0.0 if wait is None else seconds(wait, "wait")
        self.bell = exchange.registry.bell()
        self.asking = exchange.registry._asking

    def question(self, chosen: tuple[Responding, ...]) -> Question[Responding]:
        """Return the question to some responders, to be passed to `send` and `end`."""
        return Question(chosen, inf, self.bell)

    def send(self, question: Question[Responding], to_all: bool = False) -> None:
        """Send the question, then ask those that are in this process."""
        asking, number, elsewhere = self.asking, 0, None
        chosen, now = tuple(question.waits_for), self._exchange.registry.monotonic()
        question.until = now + self.patience
        asking.begin(question, now)
        if to_all:
            number = question.number
        elif type(chosen[0]) is Elsewhere:
            number, elsewhere = question.number, chosen[0].node
        self._exchange._send_noted(Noted(self._msg, self.headers, number, elsewhere))
        if elsewhere is None:
            for one in chosen:
                if isinstance(one, Responder):
                    answered = partial(asking.answered, question.number, one)
                    one.ask(self._msg, answered, self.headers)

    def left(self, question: Question[Responding], unanswered: int) -> float:
        """Return how many seconds are left to wait for an outcome.

        Raises:
            RequestTimeout: none.
        """
        left = question.until - self._exchange.registry.monotonic()
        if left <= 0 and not question.outcomes:
            raise RequestTimeout(
                f"exchange {self._exchange.name!r}: no answer from {unanswered} of those asked"
                f" within {self._timeout:g} s"
            )
        return max(left, 0.0)

    def end(self, question: Question[Responding]) -> None:
        """Forget the question, whatever has come of it."""
        if question.waits_for:
            self.asking.drop(question)

    def all(self) -> Generator[Step, None, None]:
        """Ask all responders; yield each reply, then raise what some of them have raised."""
        there = _each_process(self._exchange._responding())
        if not there:
            self._exchange._send_noted(Noted(self._msg, self.headers))
            return
        question, failed, left = self.question(there), list[Exception](), len(there)
        try:
            self.send(question, to_all=True)
            while left:
                while not question.outcomes:
                    yield self.left(question, left)
                who, outcome = question.outcomes.pop(0)
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
            self.end(question)
        if failed:
            _raise(failed, self._exchange.name)

    def there(self) -> Generator[Step, None, tuple[Responding, ...]]:
        """Return the responders, of which there were none; wait for the first if the caller does.

        Raises:
            NoResponders: there are none.
        """
        exchange, monotonic = self._exchange, self._exchange.registry.monotonic
        if self._hope <= 0:
            self._nobody()
        until = monotonic() + self._hope
        self.asking.hope(self.bell)
        try:
            while not (there := exchange._responding()):
                left = until - monotonic()
                if left <= 0:
                    self._nobody()
                yield left
        finally:
            self.asking.despair(self.bell)
        return there

    def _nobody(self) -> NoReturn:
        raise NoResponders(
            f"nobody answers on exchange {self._exchange.name!r}, in this process or at a peer"
            + (f", after {self._hope:g} s" if self._hope else "")
        )


def ask(
    exchange: AskedExchange,
    msg: object,
    timeout: float | None,
    wait: float | None,
    headers: Mapping[str, Header] | None,
) -> Any:
    """Ask one responder on this thread, and return its answer."""
    there = exchange._responding("await exchange.aio.request(...)")
    request = Request(exchange, msg, headers, timeout, wait)
    if not there:
        there = _came(request)
    bell, chosen = request.bell, there[0] if len(there) == 1 else exchange._choose(there)
    question = Question((chosen,), inf, bell)
    try:
        if type(chosen) is Elsewhere:  # `Request.send`, written out
            now = exchange.registry.monotonic()
            question.until = now + request.patience
            request.asking.begin(question, now)
            item = Noted(msg, request.headers, question.number, chosen.node)
            exchange._send_noted(item)
        else:
            request.send(question)
        if not question.outcomes:
            bell.wait(request.patience)
        while not question.outcomes:
            bell.wait(request.left(question, 1))
        who, outcome = question.outcomes[0]
        return outcome.value if outcome.kind == "value" else _value(who, outcome)
    finally:
        if question.waits_for:
            request.end(question)


def _came(request: Request) -> tuple[Responding, ...]:
    """Wait on this thread for a responder to come."""
    steps = request.there()
    try:
        while True:
            step = next(steps)
            assert isinstance(step, float)
            request.bell.wait(step)
    except StopIteration as end:
        there: tuple[Responding, ...] = end.value
        return there
    finally:
        steps.close()


def ask_all(exchange: AskedExchange, request: Request) -> Generator[Reply, None, None]:
    """Run a request to all responders on this thread; the question is sent at once."""
    exchange._responding("async for reply in exchange.aio.request_all(...)")
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
        exchange = self._exchange
        there = exchange._responding() or await self._came(request)
        question = request.question((exchange._choose(there),))
        try:
            request.send(question)
            while not question.outcomes:
                await request.bell.wait_here(request.left(question, 1))
            return _value(*question.outcomes[0])
        finally:
            request.end(question)

    async def _came(self, request: Request) -> tuple[Responding, ...]:
        """Wait in this coroutine for a responder to come."""
        steps = request.there()
        try:
            while True:
                step = next(steps)
                assert isinstance(step, float)
                await request.bell.wait_here(step)
        except StopIteration as end:
            there: tuple[Responding, ...] = end.value
            return there
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

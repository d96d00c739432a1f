"""Spans of OpenTelemetry for messages and requests: the trace context travels in their headers.

The span in which a message is sent becomes the parent of the spans in which it is handled, in
whatever process that is::

    from zexchange.contrib import opentelemetry as tracing

    tracing.send(orders, order)            # a producer span "send orders"

    @tracing.handler(orders)               # a consumer span "process orders" for each message
    def pack(order): ...

Nothing is changed for the rest of the program, and of OpenTelemetry only the API is needed: without
its SDK there are no spans, and no headers. Names and attributes are those of the semantic
conventions for messaging, version 1.44.
"""

import inspect
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import Token
from types import TracebackType
from typing import Any, TypeVar

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind

from .. import Delivery, Exchange, Lost, NotASubscriber, Task, View, __version__, to_async
from ..local.process.logs import log
from ..local.tasks.noted import NO_HEADERS, Header, WithHeaders, checked
from ..local.tasks.stream import Detailed
from ..local.tasks.validation import check_callable

T = TypeVar("T")
Headers = Mapping[str, Header]
NOT_SENT = "messaging.zexchange.headers_not_sent"
"""The attribute of a producer or client span with the headers of the trace for which there was no
room."""

_tracer = trace.get_tracer(
    "zexchange", __version__, schema_url="https://opentelemetry.io/schemas/1.44.0"
)
_told = set[str]()
"""The headers of traces that a warning has named."""


# ---------------------------------------------------------------------------------- sending


def send(exchange: Exchange[T], msg: T, headers: Headers | None = None) -> None:
    """Send a message in a producer span. Any thread, and in event loops.

    A trace that the caller has put into the headers itself is left as it is, and linked.

    Args:
        exchange: where to send it.
        msg: the message.
        headers: as for `Exchange.send_with`. The trace needs 66 of the 128 bytes, and one of the
            eight headers. If there is no room for it, the message is sent without: the span has an
            attribute that says so, and the first time a warning is logged.

    Raises:
        Exception: as for `Exchange.send_with`.
    """
    with _Sending(exchange.name, SpanKind.PRODUCER, "send", headers) as carried:
        exchange.send_with(msg, carried)


def request(
    exchange: Exchange[T],
    msg: T,
    timeout: float | None = 2.0,
    wait: float | None = None,
    *,
    headers: Headers | None = None,
) -> Any:
    """Ask one responder in a client span, and return its answer.

    The arguments are those of `Exchange.request`, the headers as for `send`.

    Raises:
        Exception: as for `Exchange.request`.
    """
    with _requesting(exchange, headers) as carried:
        return exchange.request(msg, timeout, wait, headers=carried)


async def request_async(
    exchange: Exchange[T],
    msg: T,
    timeout: float | None = 2.0,
    wait: float | None = None,
    *,
    headers: Headers | None = None,
) -> Any:
    """Ask one responder in a client span, from a coroutine: see `request`."""
    with _requesting(exchange, headers) as carried:
        return await exchange.aio.request(msg, timeout, wait, headers=carried)


def injected(headers: Headers | None = None) -> dict[str, Header]:
    """Return headers with the current trace context added, for sends that make no span of theirs.

    For instance ``exchange.request_all(msg, headers=injected())``.

    Args:
        headers: what to add to; as for `send`.

    Raises:
        TypeError: a header has a type that headers may not have.
        ValueError: there are too many headers, or they are too large.
    """
    found, context, left = dict(checked(headers or {})), dict[str, str](), list[str]()
    propagate.inject(context)
    for name, value in context.items():
        try:
            found.update(checked({**found, name: value}))
        except ValueError:
            left.append(name)
    if left:
        trace.get_current_span().set_attribute(NOT_SENT, left)
        if not _told.issuperset(left):
            _told.update(left)
            log.warning(
                "messages leave no room for %s of a trace beside their headers", ", ".join(left)
            )
    return found


class _Sending:
    """Be in a span that sends; entering it returns the headers to send.

    A span that is not recorded is hardly more than a plain send: without the SDK, or where the
    sampler leaves a trace out. It has no error to note and nothing to be ended; only what it has to
    pass on is injected. A generator around `_span` would cost many times what a send does.
    """

    __slots__ = ("_around", "_headers", "_kind", "_name", "_operation", "_span", "_token")

    def __init__(self, name: str, kind: SpanKind, operation: str, headers: Headers | None) -> None:
        self._name = name
        self._kind = kind
        self._operation = operation
        self._headers = headers
        self._span: Span | None = None
        self._token: Token[Context] | None = None

    def __enter__(self) -> Headers:
        name, operation, headers = self._name, self._operation, self._headers
        given = _sender(headers) if headers else None
        span = _tracer.start_span(
            f"{operation} {name}",
            kind=self._kind,
            attributes=_attributes(name, operation, "send"),
            links=None if given is None else [Link(given)],
        )
        if span.is_recording():
            self._span = span
            self._around = trace.use_span(span, end_on_exit=True)
            self._around.__enter__()
            try:
                return injected(headers) if headers is None or given is None else headers
            except BaseException:
                self.__exit__(*sys.exc_info())
                raise
        if span.get_span_context().is_valid:
            self._token = contexts.attach(trace.set_span_in_context(span))
        if given is not None or not contexts.get_current():
            return headers or NO_HEADERS
        try:
            return injected(headers)
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> bool | None:
        if self._token is not None:
            contexts.detach(self._token)
        if self._span is None:
            return None
        if isinstance(error, Exception):
            self._span.set_attribute("error.type", type(error).__qualname__)
        return self._around.__exit__(kind, error, where)


def _requesting(exchange: Exchange[Any], headers: Headers | None) -> _Sending:
    """Return the span of a request, whether a thread waits for the answer or a coroutine."""
    return _Sending(exchange.name, SpanKind.CLIENT, "request", headers)


# --------------------------------------------------------------------------------- handling


def handler(
    where: Exchange[T] | View, *, group: str | None = None, ahead: int = 0
) -> Callable[[Callable[[T], object]], Task[Any]]:
    """Have a function called with each message, in a consumer span; use it as a decorator.

    An async function is awaited on the event loop that runs where it is declared, as by `to_async`.

    The parent of the span is the span in which the message was sent, and there is a link to it,
    too. A message without a trace, or with one that cannot be read, is handled in a span without.

    Args:
        where: the exchange or view to attach to. The spans of a view have its pattern in their
            names, so that many exchanges make no more kinds of spans.
        group: as for `Exchange.attach`; not for async functions.
        ahead: as for `Exchange.attach`.

    Returns:
        A decorator. It returns the task, which ``detach`` takes.

    Raises:
        NotASubscriber: the function is no callable; or it is async, with ``group=``. Read a
            ``stream(details=True, group=...)`` there, with `process`.
        RuntimeError: it is async, and no event loop runs on this thread.
    """

    def attach(fn: Callable[[T], object]) -> Task[Any]:
        more = {"messaging.consumer.group.name": group} if group is not None else {}
        if isinstance(where, View):
            more["messaging.destination.template"] = where.pattern
        task: Any
        if not _is_async(fn):
            task = _Handler(fn, more)
        elif group is None:
            task = _AsyncHandler(fn, more)
        else:
            raise NotASubscriber(
                f"{fn!r} is async, and a member of a group has handled a message when its task"
                " returns: read a stream(details=True, group=...) and use process(delivery)"
            )
        where.attach(task, group=group, ahead=ahead)
        return task  # type: ignore[no-any-return]

    return attach


@contextmanager
def process(delivery: Delivery[Any]) -> Generator[Span, None, None]:
    """Be in a consumer span while a message of a stream is handled; yields the span.

    For streams with ``details=True``, in threads and coroutines. The span has a link to the one in
    which the message was sent, and that is its parent, too, unless there is a span around this
    block, which is the parent then.
    """
    here = contexts.get_current()
    context, around = _sent(delivery.headers, here), trace.get_current_span(here)
    if around.get_span_context().is_valid:
        context = trace.set_span_in_context(around, context)
    with _processing(delivery, {}, context) as span:
        yield span


@contextmanager
def _processing(
    delivery: Delivery[Any], more: Mapping[str, str], context: Context
) -> Generator[Span, None, None]:
    """Be in a consumer span, with ``context`` around it."""
    attributes = {**_attributes(delivery.name, "process", "process"), **more}
    if delivery.origin is not None:
        attributes["messaging.message.id"] = f"{delivery.origin}:{delivery.seq}"
    place = more.get("messaging.destination.template", delivery.name)
    sender = _sender(delivery.headers)
    with _in(context), _span("process", place, SpanKind.CONSUMER, attributes, sender) as span:
        yield span


class _Handler(Detailed):
    """A task that calls a function in a span."""

    def __init__(self, fn: Callable[[Any], object], more: Mapping[str, str]) -> None:
        check_callable(fn, "handler")
        self._fn = fn
        self._more = more

    def __repr__(self) -> str:
        return f"handler({self._fn!r})"

    def send(self, item: Delivery[Any] | Lost) -> object:
        """Handle a message; called by the exchange, as of any task."""
        if not isinstance(item, Delivery):
            return None
        # A message of this process is handled inside its `send`. One of a peer comes on the data
        # thread, whose context may be that of the program when it made the node.
        here = contexts.get_current() if item.origin is None else Context()
        with _processing(item, self._more, _sent(item.headers, here)):
            return self._fn(item.msg)


class _AsyncHandler(Detailed, to_async[Delivery[Any] | Lost]):
    """A task that awaits a function in a span, on its event loop."""

    def __init__(self, fn: Callable[[Any], Any], more: Mapping[str, str]) -> None:
        self._handles = fn
        self._more = more
        super().__init__(self._handle)

    def __repr__(self) -> str:
        return f"handler({self._handles!r})"

    async def _handle(self, item: Delivery[Any] | Lost) -> None:
        # Without the context of this coroutine, which is that of the program when it attached it.
        if isinstance(item, Delivery):
            with _processing(item, self._more, _sent(item.headers, Context())):
                await self._handles(item.msg)


# -------------------------------------------------------------------------------- answering


def responder(
    exchange: Exchange[T], *, most: int = 1000
) -> Callable[[Callable[[T], Any]], Callable[..., Any]]:
    """Have a function answer requests in server spans; use it as a decorator.

    The parent is the span of the request, if it has brought one. The function is plain or async, as
    for `Exchange.responder`.

    Args:
        exchange: whose requests to answer.
        most: as for `Exchange.responder`.

    Returns:
        A decorator. It returns the responder, which ``detach`` takes.

    Raises:
        NotASubscriber: the function is no callable.
        RuntimeError: it is async, and no event loop runs on this thread.
        LimitReached: as for `Exchange.responder`.
    """

    def attach(fn: Callable[[T], Any]) -> Callable[..., Any]:
        if not callable(fn):
            raise NotASubscriber(f"responder needs a callable, not {fn!r}")
        answers = (_AsyncAnswers if _is_async(fn) else _Answers)(fn, exchange.name)
        return exchange.responder(most=most)(answers)

    return attach


class _Answers(WithHeaders):
    """A function that answers, in a span."""

    def __init__(self, fn: Callable[[Any], Any], name: str) -> None:
        self._fn = fn
        self._name = name

    def __repr__(self) -> str:
        return f"responder({self._fn!r})"

    def __call__(self, msg: object, headers: Headers = NO_HEADERS) -> Any:
        with self._answering(headers):
            return self._fn(msg)

    @contextmanager
    def _answering(self, headers: Headers) -> Generator[None, None, None]:
        attributes = _attributes(self._name, "respond", "process")
        with (
            _in(_sent(headers, contexts.get_current())),
            _span("respond", self._name, SpanKind.SERVER, attributes),
        ):
            yield


class _AsyncAnswers(_Answers):
    """An async function that answers, in a span."""

    async def __call__(self, msg: object, headers: Headers = NO_HEADERS) -> Any:
        with self._answering(headers):
            return await self._fn(msg)


# ------------------------------------------------------------------------------------ spans


def _attributes(name: str, operation: str, kind: str) -> dict[str, str]:
    return {
        "messaging.system": "zexchange",
        "messaging.destination.name": name,
        "messaging.operation.name": operation,
        "messaging.operation.type": kind,
    }


@contextmanager
def _span(
    operation: str,
    place: str,
    kind: SpanKind,
    attributes: Mapping[str, str],
    linked: SpanContext | None = None,
) -> Generator[Span, None, None]:
    """Be in a new span, in which an error is noted."""
    links = [] if linked is None else [Link(linked)]
    with _tracer.start_as_current_span(
        f"{operation} {place}", kind=kind, attributes=attributes, links=links
    ) as span:
        try:
            yield span
        except Exception as error:
            span.set_attribute("error.type", type(error).__qualname__)
            raise


@contextmanager
def _in(context: Context) -> Generator[None, None, None]:
    """Be in a context."""
    token = contexts.attach(context)
    try:
        yield
    finally:
        contexts.detach(token)


def _sent(headers: Headers, here: Context) -> Context:
    """Return the context ``here`` with what headers have of a trace, if that can be read."""
    texts = {name: value for name, value in headers.items() if isinstance(value, str)}
    return propagate.extract(texts, here) if texts else here


def _sender(headers: Headers) -> SpanContext | None:
    """Return the span that headers are from, if they name one."""
    if propagate.get_global_textmap().fields.isdisjoint(headers):
        return None
    found = trace.get_current_span(_sent(headers, Context())).get_span_context()
    return found if found.is_valid else None


def _is_async(fn: Callable[..., Any]) -> bool:
    call = getattr(fn, "__call__", None)  # noqa: B004 - for objects whose call is async
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(call)

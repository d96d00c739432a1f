"""Spans for messages and requests: their parents, links, names and attributes."""

import asyncio
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.eventloops import run_asyncio, run_trio
from tests.support import Program, eventually, examples
from zexchange import Delivery, Lost, NotASubscriber, NotAttached, Registry, federate, to_call

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import baggage, trace
from opentelemetry import context as contexts
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from zexchange.contrib import opentelemetry as tracing

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
EXPORTER = InMemorySpanExporter()
PROVIDER = TracerProvider()
PROVIDER.add_span_processor(SimpleSpanProcessor(EXPORTER))
TRACER = PROVIDER.get_tracer("tests")


@pytest.fixture(autouse=True)
def exported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the spans of this module in memory; the global provider can be set only once."""
    EXPORTER.clear()
    monkeypatch.setattr(tracing, "_tracer", TRACER)
    monkeypatch.setattr(tracing, "_told", set[str]())


@pytest.fixture
def exchange() -> Any:
    return Registry().get("orders")


def spans(name: str = "") -> list[ReadableSpan]:
    """Return the spans that have ended, of one name or of all."""
    return [span for span in EXPORTER.get_finished_spans() if name in ("", span.name)]


def span_of(name: str) -> ReadableSpan:
    (span,) = spans(name)
    return span


def ids(span: ReadableSpan) -> tuple[int, int]:
    return span.context.trace_id, span.context.span_id


def parent(span: ReadableSpan) -> tuple[int, int] | None:
    return None if span.parent is None else (span.parent.trace_id, span.parent.span_id)


def linked(span: ReadableSpan) -> list[tuple[int, int]]:
    return [(link.context.trace_id, link.context.span_id) for link in span.links]


GIVEN = int(PARENT[3:35], 16), int(PARENT[36:52], 16)
"""The span that `PARENT` names."""


# ------------------------------------------------------------------------ without sockets


def test_a_message_is_handled_in_a_span_below_that_of_its_sender(exchange: Any) -> None:
    """Which has a link to it, too; names, kinds and attributes are those of the conventions."""
    seen = list[Any]()
    tracing.handler(exchange)(seen.append)
    with TRACER.start_as_current_span("checkout"):
        tracing.send(exchange, 1)
    checkout, sent, handled = span_of("checkout"), span_of("send orders"), span_of("process orders")
    assert seen == [1]
    assert (parent(sent), parent(handled), linked(handled)) == (
        ids(checkout),
        ids(sent),
        [ids(sent)],
    )
    assert (sent.kind, handled.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    common = {"messaging.system": "zexchange", "messaging.destination.name": "orders"}
    for span, operation in ((sent, "send"), (handled, "process")):
        named = {"messaging.operation.name": operation, "messaging.operation.type": operation}
        assert dict(span.attributes or {}) == {**common, **named}


def test_detach_takes_what_the_decorators_return(exchange: Any) -> None:
    """After that, no message comes and no request is answered."""
    seen = list[Any]()
    task, answers = tracing.handler(exchange)(seen.append), tracing.responder(exchange)(str)
    exchange.detach(task)
    exchange.detach(answers)
    tracing.send(exchange, 1)
    assert not seen
    assert not exchange.subscribers
    with pytest.raises(NotAttached):
        exchange.detach(task)


def test_the_spans_of_a_view_are_named_by_its_pattern() -> None:
    """Many exchanges make no more names of spans; which one it was is an attribute."""
    registry = Registry()
    tracing.handler(registry.match("orders.*"))(lambda msg: None)
    tracing.send(registry.get("orders.7"), 1)
    attributes = dict(span_of("process orders.*").attributes or {})
    assert attributes["messaging.destination.template"] == "orders.*"
    assert attributes["messaging.destination.name"] == "orders.7"


def test_an_error_is_noted_and_raised(exchange: Any) -> None:
    """By the span of the handler, and by that of the sender, who gets it."""

    @tracing.handler(exchange)
    def fail(msg: object) -> None:
        raise KeyError(msg)

    with pytest.raises(KeyError):
        tracing.send(exchange, 1)
    for name in ("send orders", "process orders"):
        span = span_of(name)
        assert span.status.status_code is StatusCode.ERROR
        assert dict(span.attributes or {})["error.type"] == "KeyError"
        assert [event.name for event in span.events] == ["exception"]


def test_a_handler_that_returns_a_coroutine_is_an_error(exchange: Any) -> None:
    """As it is for a task without spans: the message would vanish."""

    async def late() -> None: ...

    tracing.handler(exchange)(lambda msg: late())
    with pytest.raises(NotASubscriber, match="nobody awaits"):
        tracing.send(exchange, 1)


def test_a_trace_of_the_caller_is_left_as_it_is(exchange: Any) -> None:
    """The span that sends has a link to it, and those that handle are below it."""
    tracing.handler(exchange)(lambda msg: None)
    tracing.send(exchange, 1, {"traceparent": PARENT, "user": 7})
    assert linked(span_of("send orders")) == [GIVEN]
    assert parent(span_of("process orders")) == GIVEN


def test_headers_travel_beside_a_trace(exchange: Any) -> None:
    """Those of the caller, and baggage where there is room."""
    found = list[Any]()

    @tracing.handler(exchange)
    def look(msg: object) -> None:
        found.append(baggage.get_baggage("tenant"))

    with exchange.stream(details=True) as stream:
        token = contexts.attach(baggage.set_baggage("tenant", "a"))
        tracing.send(exchange, 1, {"user": 7})
        contexts.detach(token)
        headers = dict(stream.get(timeout=0).headers)
    assert headers.pop("traceparent").split("-")[2] == f"{ids(span_of('send orders'))[1]:016x}"
    assert headers == {"user": 7, "baggage": "tenant=a"}
    assert found == ["a"]


def test_a_trace_without_room_is_told(exchange: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The message is sent without it: the span says so each time, and a warning once."""
    large = {"note": "x" * 100}
    with exchange.stream(details=True) as stream, caplog.at_level(logging.WARNING, "zexchange"):
        for n in range(2):
            tracing.send(exchange, n, large)
            assert stream.get(timeout=0).headers == large
    eventually(lambda: caplog.records)
    (record,) = caplog.records
    assert "traceparent" in record.getMessage()
    for span in spans("send orders"):
        assert dict(span.attributes or {})[tracing.NOT_SENT] == ("traceparent",)


def test_headers_that_a_message_may_not_have_are_an_error(exchange: Any) -> None:
    """The same as without spans, which is also noted."""
    with pytest.raises(ValueError, match="headers of"):
        tracing.send(exchange, 1, {"note": "x" * 130})
    with pytest.raises(TypeError):
        tracing.send(exchange, 1, {"note": [1]})  # type: ignore[dict-item]
    assert len(spans("send orders")) == 2


def test_without_the_sdk_there_are_no_headers(exchange: Any, monkeypatch: Any) -> None:
    """Messages and requests are sent as they are."""
    monkeypatch.setattr(tracing, "_tracer", trace.NoOpTracer())
    tracing.responder(exchange)(lambda msg: msg + 1)
    with exchange.stream(details=True) as stream:
        tracing.send(exchange, 1)
        assert tracing.request(exchange, 2) == 3
        assert [dict(stream.get(timeout=0).headers) for _ in range(2)] == [{}, {}]


@pytest.mark.parametrize("sdk", [True, False])
def test_what_is_not_recorded_is_passed_on(exchange: Any, monkeypatch: Any, sdk: bool) -> None:
    """The trace goes on for those after us, as not sampled by us, or as it has come to us."""
    unsampled = TracerProvider(sampler=ALWAYS_OFF).get_tracer("tests")
    monkeypatch.setattr(tracing, "_tracer", unsampled if sdk else trace.NoOpTracer())
    here = TraceContextTextMapPropagator().extract({"traceparent": PARENT})
    inside = []
    exchange.attach(to_call(lambda msg: inside.append(trace.get_current_span().get_span_context())))
    with exchange.stream(details=True) as stream:
        token = contexts.attach(here)
        try:
            tracing.send(exchange, 1)
            with pytest.raises(TypeError):
                tracing.send(exchange, 1, {"note": [1]})  # type: ignore[dict-item]
            assert trace.get_current_span().get_span_context().span_id == GIVEN[1]
        finally:
            contexts.detach(token)
        tracing.send(exchange, 2, {"traceparent": PARENT})
        first, second = (dict(stream.get(timeout=0).headers) for _ in range(2))
    if sdk:
        assert re.fullmatch(PARENT[:36] + "[0-9a-f]{16}-00", first["traceparent"])
        assert int(first["traceparent"][36:52], 16) == inside[0].span_id != GIVEN[1]
    else:
        assert first == {"traceparent": PARENT}
    assert second == {"traceparent": PARENT}
    assert not spans()


HEADER = st.one_of(st.text(max_size=56), st.binary(max_size=56), st.integers(0, 9), st.floats())
ALMOST = st.builds(
    lambda at, put: PARENT[:at] + put + PARENT[at + len(put) :],
    *(st.integers(0, 54), st.text(max_size=3)),
)


@settings(max_examples=examples(400), deadline=None)
@given(st.one_of(HEADER, ALMOST), st.one_of(st.none(), HEADER))
def test_headers_that_cannot_be_read_are_no_error(value: Any, state: Any) -> None:
    """Any value in their place: the span has no parent, or the one that is written there."""
    EXPORTER.clear()
    headers = {"traceparent": value, **({} if state is None else {"tracestate": state})}
    with tracing.process(Delivery("orders", 1, "ab", 1, 0.0, headers)):
        pass
    handled = span_of("process orders")
    assert linked(handled) == ([] if handled.parent is None else [parent(handled)])
    if handled.parent is not None:
        assert isinstance(value, str)
        assert f"{handled.parent.trace_id:032x}-{handled.parent.span_id:016x}" in value


def test_a_message_without_a_trace_is_handled_in_a_span_of_its_own(exchange: Any) -> None:
    """Inside a span of the sender's thread, it is below that."""
    tracing.handler(exchange)(lambda msg: None)
    exchange.send(1)
    assert parent(span_of("process orders")) is None
    EXPORTER.clear()
    with TRACER.start_as_current_span("checkout"):
        exchange.send(1)
    assert parent(span_of("process orders")) == ids(span_of("checkout"))


def test_a_message_of_a_stream_inside_another_span(exchange: Any) -> None:
    """Its span is below that one, and has a link to the sender's."""
    with exchange.stream(details=True) as stream:
        tracing.send(exchange, 1)
        with TRACER.start_as_current_span("batch"), tracing.process(stream.get(timeout=0)) as span:
            assert trace.get_current_span() is span
    handled = span_of("process orders")
    assert parent(handled) == ids(span_of("batch"))
    assert linked(handled) == [ids(span_of("send orders"))]


def test_an_async_handler(exchange: Any) -> None:
    """It is below the sender's span, or below none: not in the span in which it was attached."""
    seen = list[Any]()

    async def main() -> None:
        with TRACER.start_as_current_span("startup"):

            @tracing.handler(exchange)
            async def pack(msg: object) -> None:
                await asyncio.sleep(0)
                seen.append((msg, trace.get_current_span().get_span_context().span_id))

        tracing.send(exchange, 1)
        exchange.send(2)
        exchange.detach(pack)
        pack.close()  # type: ignore[attr-defined]
        await pack.wait_closed()  # type: ignore[attr-defined]

    asyncio.run(main())
    first, second = spans("process orders")
    assert parent(first) == ids(span_of("send orders"))
    assert parent(second) is None
    assert seen == [(1, ids(first)[1]), (2, ids(second)[1])]


def test_a_buffer_is_copied_for_an_async_handler(exchange: Any) -> None:
    """As for other tasks that keep a message: its sender may fill the buffer again."""
    seen = list[bytes]()

    async def main() -> None:
        @tracing.handler(exchange)
        async def pack(msg: bytearray) -> None:
            seen.append(bytes(msg))

        buffer = bytearray(b"old")
        tracing.send(exchange, buffer)
        buffer[:] = b"new"
        while not seen:
            await asyncio.sleep(0)

    asyncio.run(main())
    assert seen == [b"old"]


def test_an_async_function_is_no_member_of_a_group(exchange: Any) -> None:
    """A message would count as handled before the function has begun."""

    async def pack(msg: object) -> None: ...

    with pytest.raises(NotASubscriber, match="process"):
        tracing.handler(exchange, group="packers")(pack)
    assert not exchange.subscribers


def test_a_member_of_a_group(exchange: Any) -> None:
    """Its spans name the group, and are below those of the senders."""
    task = tracing.handler(exchange, group="packers")(lambda msg: None)
    tracing.send(exchange, 1)
    eventually(lambda: spans("process orders"))
    handled = span_of("process orders")
    assert parent(handled) == ids(span_of("send orders"))
    assert dict(handled.attributes or {})["messaging.consumer.group.name"] == "packers"
    exchange.detach(task, group="packers")


def test_lost_messages_are_no_messages(exchange: Any) -> None:
    """A handler is not called with the report of a loss, of which streams with details are told."""
    seen = list[Any]()
    tracing.handler(exchange)(seen.append)
    with exchange.stream(details=True) as stream:
        exchange._report(Lost("orders", "ab", 1, 2, "evicted"))
        assert isinstance(stream.get(timeout=0), Lost)
    assert not seen
    assert exchange.stats().errors == 0
    assert not spans()


def test_a_request_is_answered_below_its_span(exchange: Any) -> None:
    """A client span, a server span, and the answer."""
    tracing.responder(exchange)(lambda msg: msg * 2)
    assert tracing.request(exchange, 21) == 42
    asked, answered = span_of("request orders"), span_of("respond orders")
    assert (asked.kind, answered.kind) == (SpanKind.CLIENT, SpanKind.SERVER)
    assert (parent(asked), parent(answered)) == (None, ids(asked))
    kinds = [dict(s.attributes or {})["messaging.operation.type"] for s in (asked, answered)]
    assert kinds == ["send", "process"]


def test_a_request_without_a_trace(exchange: Any) -> None:
    """It is answered in a span, which has no parent; the responder can be called directly."""
    answers = tracing.responder(exchange, most=3)(lambda msg: msg * 2)
    assert exchange.request(21) == 42
    assert parent(span_of("respond orders")) is None
    assert answers(2) == 4


@pytest.mark.parametrize("run", [run_asyncio, run_trio])
def test_requests_of_coroutines(exchange: Any, run: Any) -> None:
    """An async responder answers below the span of the coroutine that asks."""

    async def main() -> None:
        with TRACER.start_as_current_span("startup"):

            @tracing.responder(exchange)
            async def double(msg: int) -> int:
                return msg * 2

        with TRACER.start_as_current_span("checkout"):
            assert await tracing.request_async(exchange, 21) == 42
        assert await exchange.aio.request(1) == 2
        exchange.detach(double)

    run(main)
    asked = span_of("request orders")
    first, second = spans("respond orders")
    assert parent(asked) == ids(span_of("checkout"))
    assert (parent(first), parent(second)) == (ids(asked), None)


def test_all_responders_are_asked_in_one_trace(exchange: Any) -> None:
    """`injected` gives the headers of the current span to whatever else takes headers."""
    tracing.responder(exchange)(lambda msg: msg)
    tracing.responder(exchange)(lambda msg: msg)
    with TRACER.start_as_current_span("checkout"):
        assert len(list(exchange.request_all(1, headers=tracing.injected()))) == 2
    assert [parent(span) for span in spans("respond orders")] == [ids(span_of("checkout"))] * 2


@pytest.mark.parametrize("use", [tracing.handler, tracing.responder])
def test_only_callables_are_attached(exchange: Any, use: Any) -> None:
    """Anything else is refused, by what it is."""
    with pytest.raises(NotASubscriber, match="callable"):
        use(exchange)(7)


# --------------------------------------------------------------------------- with sockets

TRACED = """
import asyncio, json, sys
import zexchange
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from zexchange.contrib import opentelemetry as tracing

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
orders, packed = map(zexchange.get_exchange, ("orders", "packed"))

def told(n):
    spans = eventually(lambda: len(s := exporter.get_finished_spans()) >= n and s)
    print(json.dumps([
        [s.name, s.kind.name, s.context.trace_id, s.context.span_id,
         s.parent and s.parent.span_id, s.attributes.get("messaging.message.id")]
        for s in spans
    ]))
"""
CHAIN = (
    TRACED
    + """
def shop():
    with zexchange.federate("fed") as node:
        node.wait_subscribers("orders", 1)
        with trace.get_tracer("shop").start_as_current_span("checkout"):
            tracing.send(orders, 7)
        node.flush()
        print(node.id)
    told(2)

def packer():
    @tracing.handler(orders)
    def pack(order):
        tracing.send(packed, [order])
    with zexchange.federate("fed") as node:
        node.wait_subscribers("packed", 1)
        print("ready")
        told(2)
        input()

async def van():
    async with packed.stream(details=True) as parcels, zexchange.federate("fed"):
        print("ready")
        parcel = await anext(parcels)
        with tracing.process(parcel):
            await asyncio.sleep(0)
            assert parcel.msg == [7]
    told(1)

role = {"shop": shop, "packer": packer, "van": lambda: asyncio.run(van())}[sys.argv[1]]
role()
"""
)


@pytest.mark.sockets
def test_one_trace_through_three_processes(rendezvous: Path) -> None:
    """A span of the program, a send, a handler that sends on, and a coroutine that reads."""
    with Program(CHAIN, "van") as van:
        van.expect("ready")
        with Program(CHAIN, "packer") as packer:
            packer.expect("ready")
            with Program(CHAIN, "shop") as shop:
                origin = shop.line()
                told = [json.loads(program.line()) for program in (shop, packer, van)]
            packer.say()
    by_name = {span[0]: span[1:] for spans in told for span in spans}
    order = ["checkout", "send orders", "process orders", "send packed", "process packed"]
    chain = [by_name[name] for name in order]
    kinds = ["INTERNAL", "PRODUCER", "CONSUMER", "PRODUCER", "CONSUMER"]
    assert [kind for kind, *_ in chain] == kinds
    assert len({trace_id for _, trace_id, *_ in chain}) == 1
    assert [above for _, _, _, above, _ in chain] == [
        None,
        *(span for _, _, span, *_ in chain[:-1]),
    ]
    assert by_name["process orders"][-1] == f"{origin}:1"


SENDER = (
    TRACED
    + """
with zexchange.federate("fed") as node:
    node.wait_subscribers("orders", 1)
    tracing.send(orders, "traced")
    orders.send("plain")
    for value in ("00-zz", "", b"00", 7, "00-" + "0" * 32 + "-" + "0" * 16 + "-01"):
        orders.send_with("malformed", {"traceparent": value, "tracestate": "=,="})
    node.flush()
    told(1)
    input()
"""
)


@pytest.mark.sockets
def test_messages_of_peers_with_and_without_a_trace(rendezvous: Path) -> None:
    """All are handled; only that of a trace is in one, whatever thread the node was made on."""
    registry, seen, grouped = Registry(), list[Any](), list[Any]()
    orders = registry.get("orders")
    tracing.handler(orders)(seen.append)
    tracing.handler(orders, group="packers")(grouped.append)
    with TRACER.start_as_current_span("startup"):
        node = federate("fed", registry=registry)
    with node, Program(SENDER) as sender:
        ((_, _, trace_id, span_id, *_),) = json.loads(sender.line())
        eventually(lambda: len(spans("process orders")) == 14)
        sender.say()
    assert seen == grouped == ["traced", "plain", *["malformed"] * 5]
    below = [span for span in spans("process orders") if parent(span) is not None]
    assert [parent(span) for span in below] == [(trace_id, span_id)] * 2
    assert [linked(span) for span in below] == [[(trace_id, span_id)]] * 2
    assert sum(len(linked(span)) for span in spans()) == 2


ANSWERER = (
    TRACED
    + """
async def main():
    async with zexchange.federate("fed"):
        if sys.argv[1] == "async":
            @tracing.responder(orders)
            async def double(n):
                return n * 2
        else:
            tracing.responder(orders)(lambda n: n * 2)
        print("ready")
        await asyncio.to_thread(input)
    told(3)
asyncio.run(main())
"""
)


@pytest.mark.sockets
@pytest.mark.parametrize("kind", ["plain", "async"])
def test_requests_between_processes(rendezvous: Path, kind: str) -> None:
    """The server span is below the client's, of whatever thread or coroutine; if there is one."""
    registry = Registry()
    orders: Any = registry.get("orders")
    with Program(ANSWERER, kind) as answerer:
        answerer.expect("ready")
        with federate("fed", registry=registry):
            assert tracing.request(orders, 21, None, 20.0) == 42
            assert asyncio.run(tracing.request_async(orders, 22, None)) == 44
            assert orders.request(23, None) == 46
        answerer.say()
        answered = json.loads(answerer.line())
    asked = [ids(span) for span in spans("request orders")]
    assert [(name, of) for name, of, *_ in answered] == [("respond orders", "SERVER")] * 3
    assert [(t, above) for _, _, t, _, above, _ in answered[:2]] == asked
    assert answered[2][4] is None

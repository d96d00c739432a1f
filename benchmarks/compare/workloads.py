"""All workloads, each a description."""

from dataclasses import replace
from typing import Any

from .values import Workload

OURS = ("zexchange",)
PLAIN, BATCHED = "pyzmq plain", "pyzmq plain, 64 batched"
LARGE = (
    "zexchange",
    PLAIN,
    "pyzmq copy=False",
    "pyzmq general, one frame",
    "zenoh block",
    "zenoh default",
    "zenoh shared memory",
    "iceoryx2",
    "nats-py",
    "redis-py",
    "pynng",
)
ARRAY = tuple(n for n in LARGE if n not in (PLAIN, "zenoh shared memory", "iceoryx2"))
STREAM = ("zexchange", "zexchange stream")
ASYNC = ("zexchange asyncio", "pyzmq asyncio", "nats-py")
GENERAL = (
    "zexchange",
    "pyzmq general, one frame",
    "pyzmq general, two frames",
    "zenoh block",
    "zenoh default",
    "nats-py",
    "redis-py",
    "pynng",
)
SYNC = ("zexchange", PLAIN, *GENERAL[1:])
MANY = (*SYNC, BATCHED, "pyzmq general, 64 batched", "redis-py pipelined")
BURNER = ("zexchange", PLAIN, "zenoh block")
COST = ("zexchange", PLAIN, "pyzmq general, one frame")
US: dict[str, Any] = {"figure": "p50", "unit": "us"}
NS: dict[str, Any] = {"figure": "time", "unit": "ns"}

WORKLOADS: tuple[Workload, ...] = (
    *(
        Workload(f"local-{n}", f"send inside a process, {n} tasks", "alone", "local", **NS,
                 tasks=n, among=OURS)
        for n in (0, 1, 10, 100)
    ),
    Workload("bridged", "send in a federation where nobody remote listens, 1 task", "alone",
             "local", **NS, tasks=1, bridged=True, among=OURS),
    Workload("dict", "one to one, a dict of five keys", "pair", "flood", among=MANY),
    Workload("codec", "the codecs alone, the slower of the two ways, one call a message", "pair",
             "codec", among=OURS),
    Workload("tiny", "one to one, None", "pair", "flood", "none", among=MANY),
    Workload("text", "one to one, 1 KiB of text", "pair", "flood", "text", among=MANY),
    Workload("64k", "one to one, 64 KiB of bytes", "pair", "flood", "bytes64k", topic="large",
             among=LARGE),
    Workload("1m", "one to one, 1 MiB of bytes", "pair", "flood", "bytes1m", topic="large",
             among=LARGE),
    Workload("8m", "one to one, an array of 8 MiB", "pair", "flood", "array8m", topic="array",
             among=ARRAY),
    Workload("structs", "one to one, structs of msgspec with the dict's fields", "pair", "flood",
             "struct", topic="structs", among=("zexchange typed",)),
    Workload("100-exchanges", "one to one, 100 exchanges in turn", "pair", "flood", topics=100,
             among=GENERAL),
    Workload("asyncio", "one to one, a coroutine to a coroutine", "pair", "flood", among=ASYNC),
    Workload("asyncio-stream", "one to one, a task and a stream in asyncio", "pair", "flood",
             among=STREAM),
    Workload("round-trip", "round trip at idle", "pair", "ping", among=SYNC, **US),
    Workload("request", "a request to one responder, and its answer", "pair", "request",
             among=("zexchange", "nats-py"), **US),
    Workload("round-trip-asyncio", "round trip of coroutines", "pair", "ping", among=ASYNC, **US),
    Workload("round-trip-stream", "round trip, answered by a task and by a stream in asyncio",
             "pair", "ping", among=STREAM, **US),
    Workload("round-trip-loaded", "round trip while 50,000 msg/s flow", "pair", "loaded",
             rate=50_000, among=GENERAL, **US),
    Workload("one-way", "one way, from a caller that computes on", "pair", "oneway", "stamp",
             among=SYNC, **US),
    *(
        Workload(f"burner-{rate // 1000}k", f"send() beside a CPU burner, {rate:,} msg/s", "pair",
                 "burner", "stamp", figure="p99", unit="us", rate=rate, rounds=1, warm_up=False,
                 among=BURNER)
        for rate in (1_000, 5_000, 50_000)
    ),
    Workload("heard-5k", "one way to a process that has a CPU burner, 5,000 msg/s", "pair", "heard",
             "stamp", rate=5_000, among=BURNER, **US),
    *(
        Workload(f"paced-{rate // 1000}k", f"one way at {rate:,} msg/s", "pair", "paced", "stamp",
                 rate=rate, among=SYNC, **US)
        for rate in (1_000, 10_000, 100_000)
    ),
    Workload("cost-1", "the sender's processor time for a delivery, to one peer", "pair", "cost",
             figure="time", unit="ns", among=COST),
    Workload("first-400", "send() beside a CPU burner, a process's first 400, 1,000 msg/s", "fresh",
             "first", "stamp", figure="p99", unit="us", rate=1_000, among=BURNER),
    Workload("cost-many", "the sender's processor time for a delivery, to many peers", "wide",
             "cost", figure="time", unit="ns", rounds=3, among=COST),
    Workload("1-to-8", "one to several, each receiver", "fan-out", "flood", among=MANY),
    Workload("8-to-1", "several to one", "fan-in", "flood", among=MANY),
    Workload("names", "the first message on each of many names", "names", "names", rounds=1,
             among=GENERAL),
    Workload("many-peers", "one to one, with one and with many peers in the federation", "crowd",
             "flood", among=("zexchange", "zexchange, crowded")),
    Workload("many-peers-trip", "round trip, with one and with many peers in the federation",
             "crowd", "ping", among=("zexchange", "zexchange, crowded"), **US),
    Workload("joining", "time until all that join at once are ready", "join", "join",
             figure="seconds", unit="s", rounds=3, among=OURS),
    Workload("memory", "memory of a peer", "memory", "memory", figure="peer", unit="KiB", rounds=1,
             among=OURS),
)  # fmt: skip
"""In the order in which they run; those of one shape together."""


def chosen(words: tuple[str, ...] = (), peers: tuple[str, ...] = ()) -> list[Workload]:
    """Return the workloads with any of the words in their names, among some peers and us.

    Args:
        words: parts of workloads' names; none is all.
        peers: parts of contestants' names; none is all.
    """
    found = [w for w in WORKLOADS if not words or any(word in w.name for word in words)]
    if not peers:
        return found
    return [replace(w, among=tuple(n for n in w.among if _wanted(n, peers))) for w in found]


def _wanted(name: str, peers: tuple[str, ...]) -> bool:
    return name.startswith("zexchange") or any(word in name for word in peers)

"""How a workload is carried out: what its conductor asks the processes of a group.

Each function does one round and returns its figures. Rates are messages a second that each
receiver was given, latencies microseconds; `sent` and `lost` are messages of the round, all
receivers together. It must not know one contestant from another.
"""

import time
from collections.abc import Callable

from .group import MANY, Group
from .payloads import SIZES
from .values import Workload

Figures = dict[str, float]
FIRST = 50
"""Messages of the first warm-up, from whose rate the next one's number comes."""
WARM_UPS = 2
"""Rounds that are thrown away."""
FIRST_SENDS = 400
"""Sends that a process is new for."""
MOST_BYTES = 512 << 20
"""Sent in a round at most: a contestant without bounds keeps all that in memory."""


def topics_of(workload: Workload) -> list[str]:
    """Return what a workload sends on."""
    return list(MANY) if workload.topics > 1 else [workload.topic]


def flood(group: Group, workload: Workload) -> Figures:
    """Send at full speed, everybody who sends at once."""
    topics = topics_of(workload)
    topic, level = topics[0], topics[0].partition(".")[0]
    hearers, senders = group.hearers(topic), group.senders(topic)
    group.meet(topics)
    few = 3 if workload.topic in ("large", "array") else FIRST
    count = group.counts.get(workload.name, few)
    sent = count * len(senders)
    group.ask_all(hearers, "expect", topic=level, goal=sent)
    load = {"topics": topics, "payload": workload.payload, "count": count}
    began = min(group.ask_all(senders, "flood", **load))
    figures = _received(group, hearers, level, sent, began)
    wanted = figures["rate"] / len(senders) * group.size.seconds
    most = min(MOST_BYTES // SIZES.get(workload.payload, 100), count * 200)
    group.counts[workload.name] = int(min(max(wanted, 2), most))
    return figures


def _received(group: Group, hearers: list[int], topic: str, sent: int, began: float) -> Figures:
    counted = group.ask_all(hearers, "counted", topic=topic, goal=sent)
    counts = [int(count) for count, _ in counted]
    took = max(came for _, came in counted) - began
    return {
        "rate": sum(counts) / len(counts) / max(took, 1e-9),
        "sent": sent * len(hearers),
        "lost": sent * len(hearers) - sum(counts),
    }


def ping(group: Group, workload: Workload) -> Figures:
    """Round trips, one after the other."""
    asking, answering = group.processes[0], group.processes[1]
    group.meet(["answer"])
    group.meet(["ask"])
    answering.ask("echo")
    count = group.size.pings
    asking.ask("ping", count=max(count // 10, 1), rate=workload.rate)
    figures: Figures = asking.ask("ping", count=count, rate=workload.rate)
    return figures


def request(group: Group, workload: Workload) -> Figures:
    """Requests, one after the other."""
    asking, answering = group.processes[0], group.processes[1]
    group.meet(["answer"])
    group.meet(["ask"])
    answering.ask("respond")
    count = group.size.pings
    asking.ask("request", count=max(count // 10, 1))
    figures: Figures = asking.ask("request", count=count)
    return figures


def loaded(group: Group, workload: Workload) -> Figures:
    """Round trips while others flow."""
    group.meet(["bulk"])
    return ping(group, workload)


def oneway(group: Group, workload: Workload) -> Figures:
    """Messages of one who computes on after each."""
    sending, hearing = group.processes[0], group.processes[1]
    count = max(group.size.pings // 4, 2)
    group.meet(["x"])
    hearing.ask("clock", topic="x")
    sending.ask("oneway", count=count)
    return _aged(hearing.ask("clocked", goal=count), count)


def paced(group: Group, workload: Workload) -> Figures:
    """Messages at a given rate."""
    rate, figures = _paced(group, workload, group.size.seconds, False, 3 * group.size.seconds)
    return {**figures[1], "rate": rate}


def burner(group: Group, workload: Workload) -> Figures:
    """How long a send takes beside a thread that burns processor time, and its way."""
    _, (taken, aged) = _paced(group, workload, group.size.burn, True, group.size.burn)
    return {**taken, "one way": aged["p50"], "sent": aged["sent"], "lost": aged["lost"]}


def heard(group: Group, workload: Workload) -> Figures:
    """How old messages are when they come, in a process that has a thread that burns."""
    hearing = group.processes[1]
    group.meet(["x"])
    hearing.ask("kindle")
    try:
        seconds = group.size.seconds
        rate, (_, aged) = _paced(group, workload, seconds, False, most=3 * seconds)
    finally:
        hearing.ask("quench")
    return {**aged, "rate": rate}


def first(group: Group, workload: Workload) -> Figures:
    """How long the first sends of a process take, beside a thread that burns."""
    seconds = min(FIRST_SENDS / workload.rate, group.size.burn)
    _, (taken, aged) = _paced(group, workload, seconds, True, most=20 * seconds)
    return {**taken, "one way": aged["p50"], "sent": aged["sent"], "lost": aged["lost"]}


def _paced(
    group: Group, workload: Workload, seconds: float, burning: bool, most: float
) -> tuple[float, tuple[Figures, Figures]]:
    """Send at a rate, for ``most`` seconds at most.

    Returns:
        The rate that came of that, and the times that sends took and the ages of messages.
    """
    sending, hearing = group.processes[0], group.processes[1]
    group.meet(["x"])
    hearing.ask("clock", topic="x")
    taken = sending.ask(
        "paced",
        payload=workload.payload,
        rate=workload.rate,
        count=max(int(workload.rate * seconds), 5),
        burning=burning,
        most=max(most, 0.1),
    )
    rate, sent = taken.pop("rate"), taken.pop("sent")
    return rate, (taken, _aged(hearing.ask("clocked", goal=sent), sent))


def _aged(figures: Figures, sent: float) -> Figures:
    count = figures.pop("count")
    return {**figures, "sent": sent, "lost": sent - count}


def names(group: Group, workload: Workload) -> Figures:
    """The first message on each of many names, to one who wants all of them."""
    group.rounds += 1
    group.meet(["n.probe"])
    count = group.size.names if group.rounds > WARM_UPS else 100
    before = group.processes[1].ask("memory")
    group.processes[1].ask("expect", topic="n", goal=count)
    began, sender_took = group.processes[0].ask("first", start=f"n.{group.rounds}", count=count)
    figures = _received(group, [1], "n", count, began)
    took = group.processes[1].ask("memory") - before
    return {**figures, "sender bytes": sender_took / count, "receiver bytes": took / count}


def codec(group: Group, workload: Workload) -> dict[str, Figures]:
    """Packing and unpacking alone, by name."""
    found: dict[str, Figures] = group.processes[0].ask("codec", seconds=group.size.seconds)
    return found


def local(group: Group, workload: Workload) -> dict[str, Figures]:
    """Sends inside one process, by name: all who take part there live in it."""
    times: Figures = group.processes[0].ask(
        "send_local",
        tasks=workload.tasks,
        bridged=workload.bridged,
        seconds=group.size.seconds / 3,
    )
    return {name: {"time": time} for name, time in times.items()}


def join(group: Group, workload: Workload) -> Figures:
    """The time until all that join at the same moment are ready."""
    everybody = range(len(group.processes))
    began = time.monotonic()
    ready = group.ask_all(everybody, "join", others=len(group.processes) - 1)
    group.ask_all(everybody, "leave")
    return {"seconds": max(ready) - began}


def memory(group: Group, workload: Workload) -> Figures:
    """Measure the memory of a node, a peer and an exchange, in fresh processes."""
    one, crowd = group.processes[0], range(1, len(group.processes))
    before = one.ask("memory")
    one.ask("join", others=0)
    node = one.ask("memory") - before
    exchanges = group.size.names // 10
    taken = one.ask("exchanges", count=exchanges) / exchanges
    before = one.ask("memory")
    group.ask_all(crowd, "join", others=len(crowd))
    one.ask("peers", count=len(crowd))
    peer = (one.ask("memory") - before) / len(crowd)
    return {"node": node / 1024, "peer": peer / 1024, "exchange": taken / 1024}


DELIVERIES = 500_000
"""Of a round in which the cost of one is measured, for each second that a round lasts."""
ALONE: dict[str, Callable[[Group, Workload], dict[str, Figures]]] = {
    "codec": codec,
    "local": local,
}
"""Those that one process does alone, for several at once."""


def cost(group: Group, workload: Workload) -> Figures:
    """The processor time that a delivery takes in the sender's process, all threads."""
    group.meet(["x"])
    hearers, sender = group.hearers("x"), group.processes[0]
    count = max(int(DELIVERIES * group.size.seconds) // len(hearers), 1)
    group.ask_all(hearers, "expect", topic="x", goal=count)
    before = sender.ask("cpu")
    began = sender.ask("flood", topics=["x"], payload=workload.payload, count=count)
    figures = _received(group, hearers, "x", count, began)
    return {**figures, "time": (sender.ask("cpu") - before) / (count * len(hearers)) * 1e9}


MEASURES: dict[str, Callable[[Group, Workload], Figures]] = {
    "flood": flood,
    "ping": ping,
    "request": request,
    "loaded": loaded,
    "oneway": oneway,
    "paced": paced,
    "burner": burner,
    "heard": heard,
    "first": first,
    "names": names,
    "join": join,
    "memory": memory,
    "cost": cost,
}
"""By the name that workloads give."""

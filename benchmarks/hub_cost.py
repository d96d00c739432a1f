"""The cost of a frame in a hub, beside a proxy in C: frames a second through each, in turn.

One publisher, one subscriber, a process of its own between them: `zmq.proxy` (XSUB to XPUB),
or this project's hub without its nodes' control (their frames are passed on as they are). One
frame holds one message or many; it is frames that cost here.
"""

import multiprocessing
import statistics
import time

import zmq

from zexchange.net.hub.hub import Hub
from zexchange.protocol.hub.messages import Accepted, Attach, read_word, word_frame
from zexchange.protocol.wire.data import data_head, topic
from zexchange.protocol.wire.envelopes import introduction_topic, mark_topic
from zexchange.protocol.wire.messages import Label

SIZES = 100, 65_536
ROUNDS = 5
SECONDS = 1.0
ME = b"n" * 16


def proxy(pipe) -> None:  # type: ignore[no-untyped-def]
    context = zmq.Context()
    back, front = context.socket(zmq.XSUB), context.socket(zmq.XPUB)
    pipe.send([s.bind_to_random_port("tcp://127.0.0.1") for s in (back, front)])
    zmq.proxy(back, front)


def hub(pipe) -> None:  # type: ignore[no-untyped-def]
    running = Hub("f", "tcp://127.0.0.1:0")
    pipe.send(running.endpoint)
    pipe.recv()
    running.close()


def frames(publisher, subscriber, size: int) -> float:  # type: ignore[no-untyped-def]
    """Return how many frames a second pass, with a few hundred under way at most."""
    body, number, got = b"x" * size, 0, 0
    began = time.monotonic()
    while (took := time.monotonic() - began) < SECONDS:
        while number - got < 200:
            number += 1
            publisher.send(data_head(topic("x"), ME, _next(), 1, 0.0) + body)
        while subscriber.poll(0):
            subscriber.recv()
            got += 1
    while got < number and subscriber.poll(1000):
        subscriber.recv()
        got += 1
    return got / took


_numbers = iter(range(1, 1 << 62))


def _next() -> int:
    return next(_numbers)


def through_proxy(context):  # type: ignore[no-untyped-def]
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=proxy, args=(theirs,), daemon=True)
    process.start()
    up, down = ours.recv()
    publisher, subscriber = context.socket(zmq.XPUB), context.socket(zmq.SUB)
    publisher.connect(f"tcp://127.0.0.1:{up}")
    subscriber.connect(f"tcp://127.0.0.1:{down}")
    subscriber.subscribe(topic("x"))
    publisher.recv()
    return publisher, subscriber, ours, process


def through_hub(context):  # type: ignore[no-untyped-def]
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=hub, args=(theirs,), daemon=True)
    process.start()
    link = context.socket(zmq.DEALER)
    link.connect(ours.recv())
    link.send(word_frame(Attach(ME, "f", Label("host", 1))))
    carried = read_word(link.recv())
    assert isinstance(carried, Accepted)
    publisher, subscriber = context.socket(zmq.XPUB), context.socket(zmq.SUB)
    publisher.connect(carried.up)
    subscriber.connect(carried.down)
    subscriber.subscribe(topic("x"))
    seen = set()
    introduction = introduction_topic(carried.sender)
    while not {introduction, topic("x")} <= seen:
        asked = publisher.recv()[1:]
        seen.add(asked)
        if asked == introduction:
            publisher.send(introduction + ME + carried.secret)
    assert mark_topic(ME) not in seen
    return publisher, subscriber, ours, process


def main() -> None:
    context = zmq.Context()
    ways = {"zmq.proxy": through_proxy(context), "hub": through_hub(context)}
    for size in SIZES:
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, (publisher, subscriber, _, _) in ways.items():
                rates[name].append(frames(publisher, subscriber, size))
        middle = {name: statistics.median(rate) for name, rate in rates.items()}
        shown = ", ".join(f"{name} {rate:,.0f} frames/s" for name, rate in middle.items())
        print(f"{size} bytes: {shown}, ratio {middle['hub'] / middle['zmq.proxy']:.2f}")
    for _, _, _, process in ways.values():
        process.terminate()
    context.destroy(linger=0)


if __name__ == "__main__":
    main()

"""What single steps of a message cost, each in the two ways that there are, in turns.

Decoding by msgpack and by msgspec, structs by a dict and at once, and libzmq called by pyzmq and
with the interpreter's lock kept. Printed is the median of processor time in nanoseconds: a message,
or for the last table a call. Needs msgspec.

    python benchmarks/step_cost.py [--rounds 41]
"""

import argparse
import datetime
import random
import statistics
import time

import msgspec
import zmq

from zexchange import Registry, to_call
from zexchange.local.typed.codecs import codec_for
from zexchange.net.inbound import typed
from zexchange.net.inbound.context import ReceiveContext, ReceiverEvents
from zexchange.net.inbound.peer_stream import PeerReceiver
from zexchange.net.outbound.send_queue import frame_parts
from zexchange.net.transport import native
from zexchange.protocol.codec.batches import batch_decoder
from zexchange.protocol.codec.values import decode_batch, encode
from zexchange.protocol.wire.data import ready_frame, topic
from zexchange.protocol.wire.messages import Ready

ME, PEER = b"m" * 16, b"p" * 16
TOGETHER = 600
chance = random.Random(1)


class Tick(msgspec.Struct):
    """What is sent as a struct."""

    symbol: str
    price: float
    lots: int
    side: str
    venue: str


def plain(n):
    """Return a dict of five fields."""
    price = chance.random() * 100
    return {"symbol": "AAPL", "price": price, "lots": n, "side": "buy", "venue": "XNAS"}


def with_moment(n):
    """Return a dict that msgspec refuses."""
    return {**plain(n), "at": datetime.datetime(2026, 1, 1, n % 24)}


class Quiet(ReceiverEvents):
    """The control thread that there is not."""

    def proven(self, *told):
        """Do nothing."""

    def consumed(self, *told):
        """Do nothing."""


class Receiver:
    """One peer's receiver, whose task does nothing, and which decodes in one of the two ways."""

    def __init__(self, decoder):
        registry = Registry()
        registry.get("x").attach(to_call(lambda msg: None))
        context = ReceiveContext(ME, registry, lambda name: True, Quiet(), 5.0, time.monotonic)
        self._receiver, self._number = PeerReceiver(PEER, context), 1
        self._receiver.expect(1, ("x",), ())
        self._receiver.take(ready_frame(Ready(ME, 1, PEER, {"x": 0})))
        usual, typed.batch_decoder = typed.batch_decoder, decoder
        self.take(plain, 1)  # which looks the decoder up
        typed.batch_decoder = usual

    def take(self, make, count, frames=1):
        """Return the nanoseconds that a message takes in so many frames of ``count``."""
        made = []
        for _ in range(frames):
            bodies = [encode(make(n)) for n in range(count)]
            made.append(frame_parts(topic("x"), PEER, self._number, bodies, 0.0)[0])
            self._number += count
        began = time.thread_time_ns()
        for frame in made:
            self._receiver.take(frame)
        return (time.thread_time_ns() - began) / frames / count


def timed(act, calls, each=1):
    """Return the nanoseconds of a call, or of each of its messages."""
    began = time.thread_time_ns()
    for _ in range(calls):
        act()
    return (time.thread_time_ns() - began) / calls / each


def compare(title, rows, rounds):
    """Print a table: each row has a name, and what measures the former way and the present one."""
    print(f"\n| {title} | before | now | ratio |\n|---|--:|--:|--:|")
    for name, *ways in rows:
        taken = [], []
        for number in range(rounds):
            for which in (0, 1) if number % 2 else (1, 0):
                taken[which].append(ways[which]())
        before, now = map(statistics.median, taken)
        print(f"| {name} | {before:.0f} | {now:.0f} | {now / before:.2f} |", flush=True)


def receiving():
    """Yield the rows of decoding."""
    by_msgpack, by_msgspec = Receiver(lambda: None), Receiver(batch_decoder)
    for name, make, count in (
        ("1 in a frame", plain, 1),
        ("20", plain, 20),
        ("600", plain, TOGETHER),
        ("1, with a moment", with_moment, 1),
    ):
        frames = max(2, TOGETHER // count)
        yield (
            name,
            lambda m=make, c=count, f=frames: by_msgpack.take(m, c, f),
            lambda m=make, c=count, f=frames: by_msgspec.take(m, c, f),
        )


def structs():
    """Yield the rows of structs."""
    codec, tick = codec_for(Tick), Tick("AAPL", 63.7, 7, "buy", "XNAS")
    direct = codec.direct
    body = direct.pack(tick) * TOGETHER
    whole = (0xDD00000000 | TOGETHER).to_bytes(5, "big") + body

    def by_dict():
        return [codec.decode(value) for value in decode_batch(body, TOGETHER)]

    yield (
        "encode",
        lambda: timed(lambda: encode(codec.encode(tick)), 2000),
        lambda: timed(lambda: direct.pack(tick), 2000),
    )
    yield (
        "decode, 600 in a frame",
        lambda: timed(by_dict, 10, TOGETHER),
        lambda: timed(lambda: direct.several(whole), 10, TOGETHER),
    )


def calls():
    """Yield the rows of calls of libzmq: frames of 100 bytes, 300 at a time."""
    context, many, frame = zmq.Context(), 300, b"x" * 100
    xpub, xsub = context.socket(zmq.XPUB), context.socket(zmq.XSUB)
    xpub.setsockopt(zmq.SNDHWM, 0)
    xpub.bind("inproc://x")
    xsub.connect("inproc://x")
    xsub.send(b"\1x")
    xpub.recv()
    kept = native.sender(xpub), native.receiver(xsub)
    usual = (
        lambda frame, flags: zmq.backend.Socket.send(xpub, frame, flags),
        lambda flags: zmq.backend.Socket.recv(xsub, flags),
    )

    def sent(send, frame):
        taken = timed(lambda: send(frame, zmq.NOBLOCK), many)
        while xsub.poll(0):
            xsub.recv()
        return taken

    def received(receive):
        for _ in range(many):
            xpub.send(frame)
        return timed(lambda: receive(zmq.NOBLOCK), many)

    yield "send, to nobody", lambda: sent(usual[0], b"y"), lambda: sent(kept[0], b"y")
    yield "send, to one", lambda: sent(usual[0], frame), lambda: sent(kept[0], frame)
    yield "receive", lambda: received(usual[1]), lambda: received(kept[1])


def main():
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=41)
    rounds = parser.parse_args().rounds
    compare("a message of five fields, received: msgpack, msgspec", receiving(), rounds)
    compare("a struct of five fields: by a dict, at once", structs(), rounds)
    compare("a call of libzmq: by pyzmq, with the lock kept", calls(), rounds)


if __name__ == "__main__":
    main()

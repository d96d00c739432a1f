"""The goals of this project: as ratios of medians in one run, a few as figures.

"By hand" in them is pyzmq in its plainest form, which a program with one topic has. `BY_HAND` are
the ones that `python -m benchmarks.by_hand` measures alone, in some minutes.
"""

from .values import Bar

PLAIN, BATCHED, UNCOPIED = "pyzmq plain", "pyzmq plain, 64 batched", "pyzmq copy=False"
GENERAL_TWO = "pyzmq general, two frames"
ZENOH = ("zenoh block", "zenoh default")
NAIVE = ("naive recipe",)


def least(name: str, workload: str, against: str | tuple[str, ...], limit: float,
          stretch: float | None = None, other: str = "",
          ours: str = "zexchange") -> Bar:  # fmt: skip
    """Return a bar: our median is at least so many times theirs."""
    peers = (against,) if isinstance(against, str) else against
    return Bar(name, workload, peers, limit, stretch=stretch, other=other, ours=ours)


def most(name: str, workload: str, against: str | tuple[str, ...], limit: float,
         stretch: float | None = None, figure: str = "", other: str = "") -> Bar:  # fmt: skip
    """Return a bar: our median is at most so many times theirs, or so much, against nobody."""
    peers = (against,) if isinstance(against, str) else against
    return Bar(name, workload, peers, limit, False, stretch, figure, other)


BY_HAND: tuple[Bar, ...] = (
    least("received, to pyzmq with one frame", "dict", PLAIN, 2.0, 2.5),
    least("received, to 64 messages batched by hand", "dict", BATCHED, 1.0),
    least("structs received, to pyzmq with dicts", "structs", PLAIN, 5.0, other="dict",
          ours="zexchange typed"),
    least("1 KiB of text, to 64 batched by hand", "text", BATCHED, 0.8),
    least("64 KiB of bytes, to pyzmq copy=False", "64k", UNCOPIED, 0.85),
    most("round trip, to pyzmq with one frame", "round-trip", PLAIN, 1.45),
    most("request, to two exchanges by hand", "request", "zexchange", 1.1, 1.0,
         other="round-trip"),
    most("request, to nats-py", "request", "nats-py", 0.9, 0.5),
    most("one way, computing on, to pyzmq by hand", "one-way", PLAIN, 1.3, 1.1),
    least("100 exchanges in turn, to one", "100-exchanges", "zexchange", 0.75, 0.9, "dict"),
    most("send() beside a burner, first 400, 1k/s, p99 us", "first-400", (), 400),
    most("one way beside a burner, 1k/s, p50 us", "burner-1k", (), 300, figure="one way"),
    most("one way beside a burner, 5k/s, p50 us", "burner-5k", (), 300, figure="one way"),
    most("received beside a burner, 5k/s, p50 us", "heard-5k", (), 7000),
    *(
        most(f"local send to {n}, to the naive recipe", f"local-{n}", NAIVE, 1.1, 1.0)
        for n in (0, 1, 10, 100)
    ),
)  # fmt: skip
WITH_MSGSPEC = {"received, to pyzmq with one frame": 2.5}
"""Limits where msgspec is installed, of bars that have another without it."""
BARS: tuple[Bar, ...] = (
    *BY_HAND,
    least("received, to pyzmq with two frames", "dict", GENERAL_TWO, 5.0, 8.0),
    least("received, to zenoh", "dict", ZENOH, 3.0, 5.0),
    least("received, to nats-py", "dict", "nats-py", 4.5, 8.0),
    least("received, to redis-py pipelined", "dict", "redis-py pipelined", 10.0, 20.0),
    least("received, to msgpack alone, pack or unpack", "dict", "msgpack", 0.7, 0.95, "codec"),
    least("received, to our own codec alone", "dict", "our codec", 0.7, 0.95, "codec"),
    most("round trip, to zenoh", "round-trip", ZENOH, 1.0, 0.85),
    *(
        bar
        for rate in ("1k", "50k")
        for bar in (
            most(f"send() beside a burner, {rate}/s, p99 us", f"burner-{rate}", (), 200, 50),
            most(f"send() beside a burner, {rate}/s, p99.9 us", f"burner-{rate}", (), 2000, 200,
                 "p999"),
        )
    ),
    most("one way beside a burner, 50k/s, p50 us", "burner-50k", (), 10_000, figure="one way"),
    most("send that nobody remote hears, to naive", "bridged", NAIVE, 1.3, 1.1),
    least("1 MiB of bytes, to pyzmq copy=False", "1m", UNCOPIED, 0.8, 1.0),
    least("array of 8 MiB, to pyzmq with one copy", "8m", UNCOPIED, 0.8, 1.0),
    most("sender's time for a delivery, many peers, to pyzmq", "cost-many", PLAIN, 1.0),
)  # fmt: skip

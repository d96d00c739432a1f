"""The goals of this project: as ratios of medians in one run, a few as figures."""

from .values import Bar

ONE, TWO, BATCHED, UNCOPIED = (
    "pyzmq one frame",
    "pyzmq two frames",
    "pyzmq 64 batched",
    "pyzmq copy=False",
)
ZENOH = ("zenoh block", "zenoh default")
NAIVE = ("naive recipe",)


def least(name: str, workload: str, against: str | tuple[str, ...], limit: float, stretch: float,
          other: str = "") -> Bar:  # fmt: skip
    """Return a bar: our median is at least so many times theirs."""
    peers = (against,) if isinstance(against, str) else against
    return Bar(name, workload, peers, limit, stretch=stretch, other=other)


def most(name: str, workload: str, against: str | tuple[str, ...], limit: float,
         stretch: float | None = None, figure: str = "") -> Bar:  # fmt: skip
    """Return a bar: our median is at most so many times theirs, or so much, against nobody."""
    peers = (against,) if isinstance(against, str) else against
    return Bar(name, workload, peers, limit, False, stretch, figure)


BARS: tuple[Bar, ...] = (
    least("received, to pyzmq with one frame", "dict", ONE, 2.0, 3.0),
    least("received, to pyzmq with two frames", "dict", TWO, 5.0, 8.0),
    least("received, to zenoh", "dict", ZENOH, 3.0, 5.0),
    least("received, to nats-py", "dict", "nats-py", 4.5, 8.0),
    least("received, to redis-py pipelined", "dict", "redis-py pipelined", 10.0, 20.0),
    least("received, to 64 messages batched by hand", "dict", BATCHED, 0.9, 1.1),
    least("received, to msgpack alone, pack or unpack", "dict", "msgpack", 0.7, 0.95, "codec"),
    least("received, to our own codec alone", "dict", "our codec", 0.7, 0.95, "codec"),
    most("round trip, to pyzmq with one frame", "round-trip", ONE, 1.2, 1.05),
    most("round trip, to zenoh", "round-trip", ZENOH, 1.0, 0.85),
    most("one way, computing on, to pyzmq by hand", "one-way", ONE, 1.3, 1.1),
    *(
        bar
        for rate in ("1k", "50k")
        for bar in (
            most(f"send() beside a burner, {rate}/s, p99 us", f"burner-{rate}", (), 200, 50),
            most(f"send() beside a burner, {rate}/s, p99.9 us", f"burner-{rate}", (), 2000, 200,
                 "p999"),
            most(f"one way beside a burner, {rate}/s, p50 us", f"burner-{rate}", (), 10_000,
                 figure="one way"),
        )
    ),
    *(
        most(f"local send to {n}, to the naive recipe", f"local-{n}", NAIVE, 1.1, 1.0)
        for n in (0, 1, 10, 100)
    ),
    most("send that nobody remote hears, to naive", "bridged", NAIVE, 1.3, 1.1),
    least("1 MiB of bytes, to pyzmq copy=False", "1m", UNCOPIED, 0.8, 1.0),
    least("array of 8 MiB, to pyzmq with one copy", "8m", UNCOPIED, 0.8, 1.0),
    least("100 exchanges in turn, to one", "100-exchanges", "zexchange", 0.7, 0.9, "dict"),
    most("sender's time for a delivery, many peers, to pyzmq", "cost-many", ONE, 1.0),
)  # fmt: skip

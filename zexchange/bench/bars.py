"""What this project wants to reach: as ratios of medians in one run, a few as figures."""

from .values import Bar

ONE, TWO, BATCHED, UNCOPIED = (
    "pyzmq one frame",
    "pyzmq two frames",
    "pyzmq 64 batched",
    "pyzmq copy=False",
)
ZENOH = ("zenoh block", "zenoh default")
NAIVE = ("naive recipe",)

BARS: tuple[Bar, ...] = (
    Bar("received, to pyzmq with one frame", "dict", (ONE,), 2.0),
    Bar("received, to pyzmq with two frames", "dict", (TWO,), 5.0),
    Bar("received, to zenoh", "dict", ZENOH, 3.0),
    Bar("received, to nats-py", "dict", ("nats-py",), 4.5),
    Bar("received, to redis-py pipelined", "dict", ("redis-py pipelined",), 10.0),
    Bar("received, to 64 messages batched by hand", "dict", (BATCHED,), 0.9),
    Bar("received, to msgpack alone, pack or unpack", "dict", ("msgpack",), 0.7, other="codec"),
    Bar("received, to our own codec alone", "dict", ("our codec",), 0.7, other="codec"),
    Bar("round trip, to pyzmq with one frame", "round-trip", (ONE,), 1.2, least=False),
    Bar("round trip, to zenoh", "round-trip", ZENOH, 1.0, least=False),
    Bar("one way, computing on, to pyzmq by hand", "one-way", (ONE,), 1.3, least=False),
    Bar("send() beside a burner, 1 k/s, p99 us", "burner-1k", (), 200, least=False),
    Bar("send() beside a burner, 1 k/s, p99.9 us", "burner-1k", (), 2000, False, figure="p999"),
    Bar("send() beside a burner, 50 k/s, p99 us", "burner-50k", (), 200, least=False),
    Bar("send() beside a burner, 50 k/s, p99.9 us", "burner-50k", (), 2000, False, figure="p999"),
    *(
        Bar(f"local send to {n}, to the naive recipe", f"local-{n}", NAIVE, 1.1, least=False)
        for n in (0, 1, 10, 100)
    ),
    Bar("send that nobody remote hears, to naive", "bridged", NAIVE, 1.3, least=False),
    Bar("1 MiB of bytes, to pyzmq copy=False", "1m", (UNCOPIED,), 0.8),
    Bar("array of 8 MiB, to pyzmq with one copy", "8m", (UNCOPIED,), 0.8),
    Bar("100 exchanges in turn, to one", "100-exchanges", ("zexchange",), 0.7, other="dict"),
)

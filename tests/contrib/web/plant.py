"""A plant with some nodes that send and listen, all in one process, for the page to show."""

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import zexchange

SENDS = {
    "boiler": {"plant.temperature": 40.0, "plant.pressure": 20.0},
    "pump": {"plant.flow": 30.0},
    "mixer": {"plant.level": 6.0},
    "control": {"plant.valve": 8.0, "alarms.high": 1.0},
    "camera": {"plant.frames": 3.0},
    "recorder": {},
    "screen": {},
    "alarm": {},
    "spare": {},
}
LISTENS = {
    "control": ("plant.temperature", "plant.pressure", "plant.flow", "plant.level"),
    "recorder": ("plant.**", "alarms.**"),
    "screen": ("plant.temperature", "plant.pressure", "plant.frames"),
    "boiler": ("plant.valve",),
    "alarm": ("alarms.*",),
}


def message(name: str, dice: random.Random) -> object:
    """Return what is sent on an exchange."""
    if name == "plant.frames":
        return dice.randbytes(dice.choice((3000, 40_000, 60_000)))
    return {"value": round(dice.gauss(80.0, 1.5), 2), "unit": name.rpartition(".")[2]}


@contextmanager
def plant(federation: str) -> Iterator[None]:
    """Have the nodes send inside the ``with`` block."""
    done, dice = threading.Event(), random.Random(7)

    def send(exchange: zexchange.Exchange[object], rate: float) -> None:
        while not done.wait(dice.expovariate(rate)):
            exchange.send(message(exchange.name, dice))

    threads: list[threading.Thread] = []
    with ExitStack() as leaving:
        for label, rates in SENDS.items():
            registry = zexchange.Registry()
            leaving.enter_context(zexchange.federate(federation, label=label, registry=registry))
            for key in LISTENS.get(label, ()):
                registry.match(key).attach(zexchange.to_call(lambda received: None))
            for name, rate in rates.items():
                threads.append(threading.Thread(target=send, args=(registry.get(name), rate)))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            done.set()
            for thread in threads:
                thread.join()

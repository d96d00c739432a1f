"""A pattern across processes: hear every exchange below a name, also those made later.

Run it with: python examples/federated/patterns.py
"""

import multiprocessing

import zexchange


def sensor(room):
    """Publish on exchanges that nobody else has ever named."""
    with zexchange.federate("patterns-example") as node:
        for what, value in (("temperature", 21.5), ("humidity", 40)):
            name = f"house.{room}.{what}"
            node.wait_subscribers(name, 1)
            zexchange.get_exchange(name).send(value)


def main():
    spawn = multiprocessing.get_context("spawn")
    with zexchange.match("house.**").stream(names=True) as readings:
        with zexchange.federate("patterns-example"):
            sensors = [spawn.Process(target=sensor, args=(r,)) for r in ("kitchen", "attic")]
            for process in sensors:
                process.start()
            found = [readings.get(timeout=20) for _ in range(4)]
            for process in sensors:
                process.join()
    for name, value in sorted(found):
        print(name, value)


if __name__ == "__main__":
    main()

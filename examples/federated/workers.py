"""A pool of worker processes: each shares its results, and everybody hears of all of them.

Run it with: python examples/federated/workers.py
"""

import multiprocessing

import zexchange

NUMBERS = range(1, 13)
WORKERS = 3


def work(number):
    """Take every third number, and share the results."""
    found = zexchange.get_exchange("found")
    with zexchange.federate("workers-example") as node:
        node.wait_subscribers("found", 1)
        for n in NUMBERS[number::WORKERS]:
            found.send((n, n * n))
        node.flush()


def main():
    spawn = multiprocessing.get_context("spawn")
    # Attached before the workers start, so that nothing they send is missed.
    with zexchange.get_exchange("found").stream() as found:
        with zexchange.federate("workers-example"):
            workers = [spawn.Process(target=work, args=(n,)) for n in range(WORKERS)]
            for worker in workers:
                worker.start()
            squares = dict(found.get(timeout=20) for _ in NUMBERS)
            for worker in workers:
                worker.join()
    for n, square in sorted(squares.items()):
        print(n, square)


if __name__ == "__main__":
    main()

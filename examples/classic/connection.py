"""One end of a multiprocessing pipe as a task: a Connection has send(msg) already.

Run it with: python examples/classic/connection.py
"""

import multiprocessing

from zexchange import get_exchange


def child(connection):
    while (msg := connection.recv()) is not None:
        print("the other process got", msg, flush=True)


def main():
    near, far = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=child, args=(far,))
    process.start()
    exchange = get_exchange("connection")
    with exchange.subscribe(near):
        exchange.send("hello")
        exchange.send([1, 2, 3])
        exchange.send(None)
    process.join()


if __name__ == "__main__":
    main()

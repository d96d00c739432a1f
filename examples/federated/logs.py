"""Log collection: the records of all workers in one place, with their tracebacks.

Run it with: python examples/federated/logs.py
"""

import logging
import multiprocessing

from zexchange.contrib.logging import ExchangeHandler, ExchangeListener

WORKERS = 3


def work(number):
    """Log as any program does; one handler more is all that a worker needs."""
    logging.basicConfig(handlers=[ExchangeHandler("logs-example")], level=logging.INFO)
    log = logging.getLogger(f"worker.{number}")
    log.info("%d squared is %d", number, number**2, extra={"number": number})
    try:
        1 / (number - 2)
    except ZeroDivisionError:
        log.exception("worker %d failed", number)


class Collector(logging.Handler):
    """Keeps what arrives, to be shown in order at the end."""

    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


def main():
    collector = Collector()
    shop = logging.getLogger("shop")
    shop.addHandler(collector)
    shop.setLevel(logging.INFO)
    with ExchangeListener("logs-example", shop):
        spawn = multiprocessing.get_context("spawn")
        workers = [spawn.Process(target=work, args=(n,)) for n in range(WORKERS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    for record in sorted(collector.records, key=lambda record: (record.name, record.created)):
        last = (record.exc_text or "").rpartition("\n")[2]
        print(record.name, record.levelname, record.getMessage(), last)


if __name__ == "__main__":
    main()

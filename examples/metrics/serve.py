"""A program that serves the metrics of its node to Prometheus, and a worker that it talks to.

Run it with: python examples/metrics/serve.py

It reads its own metrics and prints some of them. With a port (9464 is usual) it serves them
until Ctrl-C; `dashboard.json` shows them in Grafana.
"""

import multiprocessing
import signal
import sys
import time
from urllib.request import urlopen

from prometheus_client import CollectorRegistry, start_http_server

import zexchange
from zexchange.contrib.prometheus import NodeCollector

SHOWN = ("zexchange_messages_sent_total", "zexchange_messages_received_total")


def work():
    """Send the square of each number, until there is a None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the program that started this one
    squares = zexchange.get_exchange("squares")
    with zexchange.get_exchange("numbers").stream() as numbers:
        with zexchange.federate("metrics-example") as node:
            for n in iter(numbers.get, None):
                squares.send(n * n)
            node.flush()


def serve(node, port):
    """Return the address at which Prometheus finds the metrics of a node."""
    registry = CollectorRegistry()
    registry.register(NodeCollector(node))
    server, _ = start_http_server(port, "127.0.0.1", registry)
    return f"http://127.0.0.1:{server.server_port}/metrics"


def main(port=0):
    worker = multiprocessing.get_context("spawn").Process(target=work)
    worker.start()
    numbers = zexchange.get_exchange("numbers")
    with zexchange.get_exchange("squares").stream() as squares:
        with zexchange.federate("metrics-example") as node:
            address = serve(node, port)
            node.wait_subscribers("numbers", 1)
            for n in range(10):
                numbers.send(n)
            assert [squares.get(timeout=20) for _ in range(10)] == [n * n for n in range(10)]
            if port:
                print("serving at", address, "until Ctrl-C")
                traffic(numbers)
            numbers.send(None)
            worker.join()  # it has flushed: everything that it sent is counted
            text = urlopen(address).read().decode()
            for line in text.replace(node.id, "...").splitlines():
                if line.startswith(SHOWN):
                    print(line)


def traffic(numbers):
    """Send some numbers a second, for a dashboard."""
    try:
        while True:
            numbers.send(7)
            time.sleep(0.01)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

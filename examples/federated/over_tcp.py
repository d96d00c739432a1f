"""A publisher and a subscriber that know each other's address: TCP, here on loopback.

Run it with: python examples/federated/over_tcp.py

Between hosts, each side runs one half, each has a `listen=` of its own, and without keys
both write `insecure=True`.
"""

import subprocess
import sys

import zexchange


def subscribe():
    """Listen on a free port, have a publisher started, and print what it sends."""
    with zexchange.get_exchange("weather").stream() as weather:
        with zexchange.federate("tcp-example", listen="tcp://127.0.0.1:0", local=False) as node:
            endpoint = node.endpoints[0]
            publisher = subprocess.Popen([sys.executable, __file__, endpoint])
            for _ in range(3):
                print(weather.get(timeout=20))
            publisher.wait()


def publish(endpoint):
    """Send three messages to the subscriber at the other end."""
    weather = zexchange.get_exchange("weather")
    with zexchange.federate("tcp-example", peers=[endpoint], local=False) as node:
        node.wait_subscribers("weather", 1)
        for report in ("sunny", "windy", "rain"):
            weather.send(report)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        publish(sys.argv[1])
    else:
        subscribe()

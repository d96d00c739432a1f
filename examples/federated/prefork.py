"""A pre-forked server's shape: the parent federates and attaches, the children just go on.

Run it with: python examples/federated/prefork.py

Each child keeps what was attached before the fork, and gets a node of its own at its first
use of an exchange: so an invalidation from any of them reaches the cache of all.
"""

import os
import sys
import threading

import zexchange

CHILDREN = 3
cache = {"greeting": "hello"}
emptied = threading.Event()
invalidate = zexchange.get_exchange("invalidate")


@invalidate.handler
def forget(key):
    cache.pop(key, None)
    emptied.set()


def serve(node, number):
    """Be one of the server's processes; return its exit status."""
    with node:  # the parent's object, but by now a node of this child
        node.wait_subscribers("ready", 1)
        zexchange.get_exchange("ready").send(number)
        return 0 if emptied.wait(20) and not cache else 1


def start(node, number):
    """Fork a child that serves; return its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = serve(node, number)
        finally:
            os._exit(status)
    return pid


def main():
    with zexchange.get_exchange("ready").stream() as ready:
        with zexchange.federate("prefork-example") as node:
            children = [start(node, number) for number in range(CHILDREN)]
            print("ready:", sorted(ready.get(timeout=20) for _ in children))
            node.wait_subscribers("invalidate", CHILDREN)
            invalidate.send("greeting")
            ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    print("emptied in every process:", not any(ends) and not cache)
    return any(ends)


if __name__ == "__main__":
    sys.exit(main())

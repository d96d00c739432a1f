"""An actor: a thread with a mailbox, attached so that slow work leaves the sender alone.

Run it with: python examples/classic/actor.py
"""

import queue
import threading

from zexchange import get_exchange


class Actor:
    def __init__(self):
        self._mailbox = queue.Queue()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def send(self, msg):
        self._mailbox.put(msg)

    def close(self):
        self._mailbox.put(None)
        self._thread.join()

    def _run(self):
        while (msg := self._mailbox.get()) is not None:
            print("the actor got", msg)


def main():
    exchange = get_exchange("actor")
    actor = Actor()
    with exchange.subscribe(actor):
        for n in range(3):
            exchange.send(n)
    actor.close()


main()

"""Two tasks attached to one exchange, one message sent, one task detached.

Run it with: python examples/classic/attach.py
"""

from zexchange import get_exchange


class Task:
    def __init__(self, name):
        self.name = name

    def send(self, msg):
        print(f"{self.name} got {msg}")


def main():
    exchange = get_exchange("attach")
    task_a, task_b = Task("a"), Task("b")
    exchange.attach(task_a)
    exchange.send("hello, a")
    exchange.detach(task_a)
    exchange.attach(task_b)
    exchange.send("hello, b")
    exchange.detach(task_b)
    exchange.send("hello, nobody")


main()

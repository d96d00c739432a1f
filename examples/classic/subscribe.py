"""Tasks attached for the length of a ``with`` block.

Run it with: python examples/classic/subscribe.py
"""

from zexchange import get_exchange


class Total:
    def __init__(self):
        self.sum = 0

    def send(self, msg):
        self.sum += msg


def main():
    exchange = get_exchange("subscribe")
    first, second = Total(), Total()
    with exchange.subscribe(first, second):
        exchange.send(1)
        exchange.send(2)
    exchange.send(100)
    print(first.sum, second.sum)


main()

"""A task that counts and displays what passes, attached beside the real ones to debug.

Run it with: python examples/classic/display.py
"""

from zexchange import get_exchange


class DisplayMessages:
    def __init__(self):
        self.count = 0

    def send(self, msg):
        self.count += 1
        print(f"msg[{self.count}]: {msg!r}")


def main():
    exchange = get_exchange("display")
    display = DisplayMessages()
    with exchange.subscribe(display):
        for msg in ("hello", {"sym": "AAPL", "px": 191.25}, None):
            exchange.send(msg)
    print(display.count, "messages")


main()

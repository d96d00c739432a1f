"""A generator as a task: primed with next(), then every message arrives at its yield.

Run it with: python examples/classic/generator.py
"""

from zexchange import get_exchange


def averages():
    total, count = 0.0, 0
    while True:
        total += yield
        count += 1
        print(f"average of {count}: {total / count:.2f}")


def main():
    exchange = get_exchange("generator")
    task = averages()
    next(task)
    exchange.attach(task)
    for value in (1, 2, 6):
        exchange.send(value)
    exchange.detach(task)


main()

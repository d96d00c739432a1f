"""Redundant tasks: two processes do the same work, and the first answer to each question counts.

Run it with: python examples/federated/redundant.py

One of the two is killed in the middle. Nobody has to notice it, take over, or ask again.
"""

import multiprocessing
import time

import zexchange

QUESTIONS = range(200)
questions = zexchange.get_exchange("questions")
answers = zexchange.get_exchange("answers")


def answer(name):
    """Answer every question."""
    with questions.stream(overflow="block") as asked, zexchange.federate("redundant-example"):
        for n in asked:
            answers.send((name, n, n * n))


def main():
    spawn = multiprocessing.get_context("spawn")
    names = ("first", "second")
    twins = {n: spawn.Process(target=answer, args=(n,), daemon=True) for n in names}
    squares = {}
    with answers.stream(overflow="block") as answered:
        with zexchange.federate("redundant-example") as node:
            for twin in twins.values():
                twin.start()
            node.wait_subscribers("questions", len(twins), timeout=20)
            for n in QUESTIONS:
                questions.send(n)
                if n == 100:
                    twins["first"].kill()
                while n not in squares:
                    _, number, square = answered.get(timeout=20)
                    squares.setdefault(number, square)  # the other's answer is the same
                time.sleep(0.001)
            twins["second"].terminate()
            for twin in twins.values():
                twin.join()
    right = sum(squares[n] == n * n for n in QUESTIONS)
    print(f"{right} of {len(QUESTIONS)} answered, with one of two killed at the 100th")


if __name__ == "__main__":
    main()

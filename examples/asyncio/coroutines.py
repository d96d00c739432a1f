"""Coroutines in two processes: one asks, the other answers, and nobody's event loop waits.

Run it with: python examples/asyncio/coroutines.py
"""

import asyncio
import multiprocessing

import zexchange

FEDERATION = "coroutines-example"


async def answer():
    """Answer questions until there is nothing more to be asked."""
    answers = zexchange.get_exchange("answers")
    async with zexchange.get_exchange("questions").stream() as questions:
        async with zexchange.federate(FEDERATION) as node:
            await node.wait_subscribers("answers", 1, timeout=20)
            async for question in questions:
                if question is None:
                    break
                answers.send((question, question**2))
            await node.flush()


async def ask():
    questions = zexchange.get_exchange("questions")
    async with zexchange.get_exchange("answers").stream() as answers:
        async with zexchange.federate(FEDERATION) as node:
            await node.wait_subscribers("questions", 1, timeout=20)
            for n in range(1, 6):
                questions.send(n)
                # Cancelled or timed out, a read loses nothing: the next one has it.
                print(*await asyncio.wait_for(anext(answers), timeout=20))
            questions.send(None)
            await node.flush()


def main():
    spawn = multiprocessing.get_context("spawn")
    other = spawn.Process(target=run_answer)
    other.start()
    asyncio.run(ask())
    other.join()


def run_answer():
    asyncio.run(answer())


if __name__ == "__main__":
    main()

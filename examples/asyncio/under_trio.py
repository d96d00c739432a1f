"""Two tasks in a trio nursery read the same exchange, beside a thread that sends; needs trio.

Run it with: python examples/asyncio/under_trio.py
"""

import threading

import trio

import zexchange

prices = zexchange.get_exchange("prices")


async def read(name, stream, got):
    async with stream:
        async for price in stream:
            if price is None:
                return
            got.append((price, name))


async def main():
    got = []
    async with trio.open_nursery() as nursery:
        for name in ("left", "right"):
            # Receives from here on, before the task has begun.
            nursery.start_soon(read, name, prices.stream(), got)
        threading.Thread(target=lambda: [prices.send(p) for p in (1.5, 2.5, None)]).start()
    for price, name in sorted(got):
        print(name, price)


trio.run(main)

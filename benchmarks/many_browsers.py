"""50 sockets at a gateway, one of them frozen, at 20,000 messages a second to all together.

Run it with: python benchmarks/many_browsers.py [SECONDS]

Each socket is attached to one exchange, on which 20,000 / 50 messages a second are sent for so many
seconds (10). One of them stops reading at once. All others must get every message, once and in
order, and the frozen one, when it reads again, must get some and be told of all others. It exits
with 1 if not. The gateway has a process of its own, and so have the sockets, since a parser in
Python takes more than a browser does.
"""

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

from websockets.asyncio.client import ClientConnection, connect

import zexchange
from zexchange.protocol.codec.values import decode, encode

SOCKETS, RATE, TICK = 50, 20_000, 0.02
PROGRAM = """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from zexchange.contrib.web import Gateway

gateway = Gateway("many-browsers", subscribe="news", token=None)

async def stats(request):
    found = gateway.stats()
    return JSONResponse({name: getattr(found, name) for name in found.__slots__})

app = Starlette(routes=[Route("/stats", stats), *gateway.routes], lifespan=gateway.lifespan)
"""


class Socket:
    """A browser that is attached to `news`, and counts what it gets."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.values: list[int] = []
        self.lost = self.acked = 0
        self.late: list[float] = []

    async def attach(self) -> None:
        """Say hello, attach, and wait until that is done."""
        hello = {"zexchange": 1, "token": "", "session": "", "received": 0, "handled": 0}
        await self.socket.send(json.dumps(hello))
        await self.socket.send(encode(["attach", 1, 1, "news", 0, ""]))
        while decode(await self.socket.recv(decode=False))[0] != "done":
            pass
        await self.socket.send(encode(["ack", 1]))

    async def read(self, messages: int) -> None:
        """Read until the last message has come, or a minute nothing."""
        while len(self.values) + self.lost < messages:
            frame = decode(await asyncio.wait_for(self.socket.recv(decode=False), 60))
            if frame[0] == "message":
                self.values.append(frame[5])
                self.late.append(time.time() - frame[4])
            elif frame[0] == "missed":
                self.lost += sum(frame[2].values())
            if frame[1] - self.acked >= 64 or len(self.values) + self.lost == messages:
                self.acked = frame[1]
                await self.socket.send(encode(["ack", frame[1]]))


async def browse(port: int, ready: object, thaw: object, messages: int) -> list[Socket]:
    """Attach all sockets, and read from all but the first; from that one after the others."""
    sockets = [
        Socket(await connect(f"ws://127.0.0.1:{port}/ws", origin=f"http://127.0.0.1:{port}"))
        for _ in range(SOCKETS)
    ]
    for socket in sockets:
        await socket.attach()
    ready.set()
    await asyncio.gather(*[socket.read(messages) for socket in sockets[1:]])
    await asyncio.to_thread(thaw.wait)
    await sockets[0].read(messages)
    for socket in sockets:
        await socket.socket.close()
    return sockets


def browsers(port: int, ready: object, thaw: object, done: object, messages: int) -> None:
    """Be the process of the sockets: report what each has got."""
    found = asyncio.run(browse(port, ready, thaw, messages))
    late = sorted(seconds for socket in found[1:] for seconds in socket.late)
    inorder = all(socket.values == sorted(set(socket.values)) for socket in found)
    told = [(len(socket.values), socket.lost) for socket in found]
    done.put((told, inorder, late[len(late) // 2], late[len(late) * 99 // 100]))


def stats(port: int) -> dict:
    """Return the counts of the gateway."""
    with urlopen(f"http://127.0.0.1:{port}/stats") as answer:
        return json.load(answer)


def serve(folder: str, port: int) -> "subprocess.Popen[bytes]":
    """Start the gateway, and wait until it answers."""
    Path(folder, "many_browsers_app.py").write_text(PROGRAM)
    words = ["uvicorn", "many_browsers_app:app", "--log-level", "error", "--port", str(port)]
    process = subprocess.Popen([sys.executable, "-m", *words], cwd=folder)
    for _ in range(600):
        try:
            stats(port)
            return process
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the gateway did not start")


def flood(exchange: zexchange.Exchange, messages: int) -> float:
    """Send at the rate; return how many messages a second went to all sockets together."""
    each, began, sent = RATE / SOCKETS, time.monotonic(), 0
    while sent < messages:
        due = min(messages, int((time.monotonic() - began) * each))
        while sent < due:
            exchange.send(sent)
            sent += 1
        time.sleep(TICK)
    return messages * SOCKETS / (time.monotonic() - began)


def main(seconds: float = 10.0) -> int:
    """Measure, print, and judge."""
    messages, context = int(seconds * RATE / SOCKETS), multiprocessing.get_context("spawn")
    port = 8769
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ZEXCHANGE_DIR"] = folder
        gateway = serve(folder, port)
        ready, thaw, done = context.Event(), context.Event(), context.Queue()
        process = context.Process(target=browsers, args=(port, ready, thaw, done, messages))
        process.start()
        try:
            with zexchange.federate("many-browsers") as node:
                node.wait_subscribers("news", 1, timeout=60)
                if not ready.wait(120):
                    raise SystemExit("the sockets did not attach")
                load = os.getloadavg()[0]
                rate = flood(zexchange.get_exchange("news"), messages)
                node.flush()
                # What waits for the frozen one alone, once the others have all.
                while (before := stats(port)["waiting"]) > 1300:
                    time.sleep(0.2)
                bounded = stats(port)
                thaw.set()
                told, inorder, half, most = done.get(timeout=300)
        finally:
            process.terminate()
            process.join()
            gateway.terminate()
            gateway.wait()
    (frozen, lost), others = told[0], told[1:]
    print(f"{rate:,.0f} messages a second to {SOCKETS} sockets for {seconds:g} s; load {load:.1f}")
    print(f"others: {min(n for n, _ in others)} to {max(n for n, _ in others)} of {messages} each")
    print(f"after {1000 * half:.1f} ms (median), {1000 * most:.1f} ms (99 of 100)")
    print(f"frozen: {frozen} messages, told of {lost} missed; {before} waited at the gateway,")
    print(f"  {bounded['waiting_bytes'] / 1024:.0f} KiB, missed there {bounded['missed']}")
    good = inorder and all(n == messages for n, _ in others) and frozen + lost == messages
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(*map(float, sys.argv[1:])))

"""One browser with the page: what it shows, and what it is sent.

It is sent the next picture only when it has taken the one before, so a slow browser gets fewer of
them, and nothing waits for it. Everything here belongs to one event loop.
"""

import asyncio
import json
from contextlib import ExitStack, suppress
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from .... import Diagnosis, ExchangeError, InvalidName
from ....display.text import printable
from ....local.process.logs import log
from ....names import check_name, matches
from ....protocol.rate_limit import TokenBucket
from ..doors import MALFORMED, TOO_MANY, Refused, meet, receive, shortened
from . import views
from .asked import Asked, read_asked, read_hello
from .doctor import Doctor
from .looks import Looks, Watcher
from .samples import KEPT, Sample, Samples

TAIL_EVERY = 0.5
"""Seconds between two sights of an exchange's messages."""
AT_ONCE, A_SECOND = 40.0, 5.0
"""How often a browser may say what it shows: so often at once, and so often a second."""


class Viewer:
    """A connection of a browser.

    Args:
        socket: its WebSocket.
        allow: the name or pattern of the exchanges that it may see.
        looks: what flows.
        samples: the messages of exchanges.
        doctor: makes diagnoses.
    """

    def __init__(
        self, socket: WebSocket, allow: str, looks: Looks, samples: Samples, doctor: Doctor
    ) -> None:
        self._socket = socket
        self._allow = allow
        self._looks = looks
        self._samples = samples
        self._doctor = doctor
        self._asked: Asked | None = None
        self._told = 0, 0
        """The number that the browser gave, and that of the look, of which it was sent a view."""
        self._sample: Sample | None = None
        self._tail_from = 0
        self._sampling = ExitStack()
        self._diagnosing: asyncio.Task[Diagnosis] | None = None
        self._rate = TokenBucket(AT_ONCE, A_SECOND)

    async def meet(self, token: str | None, federation: str) -> None:
        """Have the connection say who it is.

        Raises:
            Refused: it may not have anything.
            WebSocketDisconnect: it is gone.
        """
        await meet(self._socket, read_hello, token)
        await self._say({"welcome": printable(federation), "allow": printable(self._allow)})

    async def serve(self) -> None:
        """Serve the browser until it is gone.

        Raises:
            Refused: it breaks a rule.
            WebSocketDisconnect: it is gone.
        """
        with self._looks.watching() as watcher, self._sampling:
            parts = [
                asyncio.ensure_future(self._read(watcher)),
                asyncio.ensure_future(self._write(watcher)),
            ]
            try:
                await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for part in (*parts, *filter(None, [self._diagnosing])):
                    part.cancel()
                found = await asyncio.gather(*parts, return_exceptions=True)
        for error in found:
            if isinstance(error, Exception) and not isinstance(error, RuntimeError | OSError):
                raise error

    async def close(self, code: int, reason: str) -> None:
        """End the connection."""
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._socket.close(code, shortened(reason))

    async def _say(self, told: dict[str, Any]) -> None:
        await self._socket.send_text(json.dumps(told, separators=(",", ":")))

    async def _read(self, watcher: Watcher) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            asked = read_asked(await receive(self._socket))
            if asked is None:
                raise Refused(MALFORMED, "malformed", "nothing that can be asked")
            if not self._rate.take(None, 1.0, clock()):
                raise Refused(TOO_MANY, "asked", "it asks too often")
            self._take(watcher, asked)

    def _take(self, watcher: Watcher, asked: Asked) -> None:
        """Take note of what the browser shows from now on."""
        before, self._asked = self._asked, asked
        self._looks.want_flows(watcher, asked.view == "map")
        if before is None or asked.name != before.name:
            self._sampling.close()
            self._sample, self._tail_from = None, 0
            if asked.view == "exchange" and not self._fault(asked.name):
                self._sample = self._sampling.enter_context(self._samples.of(asked.name))
                self._tail_from = max(0, self._sample.came - KEPT)
        if self._diagnosing is not None:
            self._diagnosing.cancel()
            self._diagnosing = None
        if asked.view == "doctor":
            self._diagnosing = asyncio.ensure_future(self._doctor.diagnosis())
            self._diagnosing.add_done_callback(lambda done: watcher.turn.set())
        watcher.turn.set()

    def _fault(self, name: str) -> str:
        """Return why the messages of an exchange are not shown; empty if they are."""
        try:
            check_name(name)
            if not matches(self._allow, name):
                return "this page may not show this exchange"
            self._samples.check(name)
        except InvalidName as error:
            return printable(str(error))
        return ""

    async def _write(self, watcher: Watcher) -> None:
        while True:
            every = TAIL_EVERY if self._sample is not None else None
            with suppress(TimeoutError):
                await asyncio.wait_for(watcher.turn.wait(), every)
            watcher.turn.clear()
            told = self._picture()
            if told:
                await self._say(told)

    def _picture(self) -> dict[str, Any]:
        """Return what the browser has not got yet of what it shows; empty if there is nothing."""
        asked, look = self._asked, self._looks.latest
        if asked is None:
            return {}
        told: dict[str, Any] = {}
        now = asked.number, look.number if look else 0
        if look is not None and now != self._told:
            told["summary"] = views.summary(look.traffic)
            if asked.view == "map":
                told["map"] = views.map_view(look)
            elif asked.view == "exchanges":
                told["exchanges"] = views.exchanges_view(look, asked)
            elif asked.view == "exchange":
                fault = self._fault(asked.name)
                shown = {} if fault else views.exchange_view(look, asked.name)
                told["exchange"] = {**shown, "fault": fault}
            self._told = now
        if asked.view == "exchange" and self._sample is not None:
            clock = asyncio.get_running_loop().time()
            tail, newest = views.tail_view(look, self._sample, self._tail_from, clock)
            if told or newest > self._tail_from:
                told["tail"], self._tail_from = tail, newest
        if self._diagnosing is not None and self._diagnosing.done():
            told["doctor"] = _diagnosed(self._diagnosing)
            self._diagnosing = None
        return {"number": asked.number, "view": asked.view, **told} if told else {}


def _diagnosed(task: "asyncio.Task[Diagnosis]") -> dict[str, Any]:
    try:
        return views.doctor_view(task.result())
    except ExchangeError as error:
        return {"fault": printable(str(error))}
    except Exception as error:
        log.warning("a diagnosis for a browser failed: %r", error)
        return {"fault": f"the diagnosis failed: {type(error).__name__}"}

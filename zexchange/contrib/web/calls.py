"""The calls of browsers: attachments, messages and requests, each done or refused.

Each refusal is told to the browser and counted. Everything here belongs to one event loop.
"""

import asyncio
from collections import Counter
from typing import Any

from ... import EncodeError, ExchangeError, InvalidName
from ...local.process.logs import log
from ...local.tasks.noted import checked
from ...names import check_name, check_scope
from ...protocol.codec.values import encode
from ..membership import Membership
from .frames import Ask, Attach, Detach, Numbered, Send
from .queue import Limits
from .rights import BrowserRights
from .sessions import Session
from .sources import Feeds

HISTORY_MOST = 1000
"""Kept messages that a browser may ask for."""
REQUEST_TIMEOUT_MOST = 60.0
"""Seconds that a browser may have a request wait at most."""


class Calls:
    """Carries out the calls of browsers.

    Args:
        membership: the federation.
        rights: what browsers may do.
        limits: what each of them may use.
        feeds: where messages for browsers come from.
        refused: counts what was refused, by reason.
    """

    def __init__(
        self,
        membership: Membership,
        rights: BrowserRights,
        limits: Limits,
        feeds: Feeds,
        refused: Counter[str],
    ) -> None:
        self._membership = membership
        self._rights = rights
        self._limits = limits
        self._feeds = feeds
        self._refused = refused

    def _refuse(self, session: Session, number: int, reason: str, text: str) -> None:
        self._refused[reason] += 1
        session.refuse(number, reason, text)

    async def do(self, session: Session, said: Numbered, size: int) -> None:
        """Do what a browser asks for, or refuse it; attachments and requests go on by themselves.

        Everything that is refused for want of a right is refused before an exchange is made.
        """
        match said:
            case Attach():
                if self._may_attach(session, said):
                    self._attach(session, said)
            case Detach():
                if self._feeds.detach(session, said.id):
                    session.done(said.number)
                else:
                    self._refuse(session, said.number, "unknown", "there is no such subscription")
            case Send():
                if self._may_send(session, said):
                    self._send(session, said)
                    await self._membership.sent(size)
            case Ask():
                if self._may_send(session, said):
                    self._ask(session, said)

    def _aside(self, session: Session, work: Any) -> None:
        """Run what takes time beside the reading of further frames."""
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        session.tasks.add(task)
        task.add_done_callback(session.tasks.discard)

    def _may_attach(self, session: Session, said: Attach) -> bool:
        fault = "", ""
        try:
            check_scope(said.key)
        except InvalidName as error:
            fault = "name", str(error)
        else:
            rights, limits = self._rights, self._limits
            if not rights.may_subscribe(said.key):
                fault = "subscribe", f"browsers may not attach to {said.key!r}"
            elif said.group and not rights.may_join(said.key):
                fault = "groups", f"browsers may not be members of groups of {said.key!r}"
            elif said.id in session.subscriptions:
                fault = "id", f"subscription {said.id} is there already"
            elif len(session.subscriptions) >= limits.subscriptions:
                fault = "subscriptions", f"a browser has at most {limits.subscriptions}"
            elif not 0 <= said.history <= HISTORY_MOST or (said.history and said.group):
                fault = "history", f"history is 0 to {HISTORY_MOST}, and 0 in a group"
        if fault[0]:
            self._refuse(session, said.number, *fault)
        return not fault[0]

    def _attach(self, session: Session, said: Attach) -> None:
        try:
            self._feeds.attach(session, said.id, said.key, said.history, said.group)
        except ExchangeError as error:
            self._refuse(session, said.number, type(error).__name__, str(error))
        else:
            self._membership.attached()
            self._aside(session, self._attached(session, said))

    async def _attached(self, session: Session, said: Attach) -> None:
        """Say that a subscription is in force, when it is at all peers."""
        try:
            await self._membership.joined()
        except ExchangeError as error:
            self._feeds.detach(session, said.id)
            self._refuse(session, said.number, type(error).__name__, str(error))
        else:
            session.done(said.number)

    def _may_send(self, session: Session, said: Send | Ask) -> bool:
        fault = "", ""
        try:
            check_name(said.name)
            checked(said.headers)
        except InvalidName as error:
            fault = "name", str(error)
        except (TypeError, ValueError) as error:
            fault = "headers", str(error)
        else:
            if not self._rights.may_publish(said.name):
                fault = "publish", f"browsers may not send on {said.name!r}"
        if fault[0]:
            self._refuse(session, said.number, *fault)
        return not fault[0]

    def _send(self, session: Session, said: Send) -> None:
        try:
            self._membership.registry.get(said.name).send_with(said.value, said.headers)
        except Exception as error:  # a task of this process, or more than a limit allows
            log.warning("a browser's message on %r: %r", said.name, error)
            self._refuse(session, said.number, "failed", type(error).__name__)
        else:
            session.done(said.number)

    def _ask(self, session: Session, said: Ask) -> None:
        if session.requests >= self._limits.requests:
            text = f"a browser has at most {self._limits.requests} requests under way"
            self._refuse(session, said.number, "requests", text)
            return
        if not 0 < said.timeout <= REQUEST_TIMEOUT_MOST:
            text = f"the timeout is over 0 and at most {REQUEST_TIMEOUT_MOST:g} s"
            self._refuse(session, said.number, "timeout", text)
            return
        session.requests += 1
        self._aside(session, self._answer(session, said))

    async def _answer(self, session: Session, said: Ask) -> None:
        """Ask a responder, and give the browser its answer."""
        exchange = self._membership.registry.get(said.name)
        try:
            await self._membership.joined()
            answer = await exchange.aio.request(said.value, said.timeout, headers=said.headers)
            value = encode(answer)
        except (ExchangeError, EncodeError) as error:
            self._refuse(session, said.number, type(error).__name__, str(error))
        except Exception as error:
            log.warning("a browser's request on %r: %r", said.name, error)
            self._refuse(session, said.number, "failed", type(error).__name__)
        else:
            session.done(said.number, value)
        finally:
            session.requests -= 1

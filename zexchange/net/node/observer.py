"""Tells a node's engine of changes in its registry: exchanges, interest, late joiners, retention.

The registry calls most of these methods under its lock, so they only queue work for the engine.
They are not methods of `Node`, because a program should not call them.
"""

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import LimitReached
from ...local.late_join import CatchUp
from ...local.registry import Exchange
from ...local.sharing.member import Member
from ...protocol.session.events import Lost
from ...protocol.wire.limits import (
    KEY_OVERHEAD,
    MAX_INTEREST_BYTES,
    MAX_KEYS,
    MAX_MEMBERS,
    MAX_PATTERNS,
    MAX_RESPONDERS,
)

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from ..engine.requests import NodeRequests


class NodeObserver:
    """The `local.registry.Observer` of one node.

    Args:
        federation: the name of the federation.
        engine: returns the running parts of the node, or None while it has none.
        revive: starts the node again, in a forked child.
    """

    def __init__(
        self,
        federation: str,
        engine: "Callable[[], Engine | None]",
        revive: Callable[[], None],
    ) -> None:
        self._federation = federation
        self._engine = engine
        self.answers: NodeRequests | None = None
        """See `Observer`."""
        self.revive = revive
        self._early: list[weakref.ref[CatchUp]] = []
        """Late joiners from before the node was started: the peers that it meets first owe them
        history."""

    def exchange_added(self, exchange: Exchange[Any]) -> None:
        """Give a new exchange its bridge if a peer waits for it."""
        engine = self._engine()
        if engine is not None:
            engine.bridges.look(exchange, fresh=True)

    def check_interest(self, keys: int, patterns: int, size: int) -> None:
        """Raise LimitReached if peers would not accept so much interest from this node."""
        size += KEY_OVERHEAD * (keys + patterns)
        for number, most, what in (
            (patterns, MAX_PATTERNS, "patterns"),
            (keys, MAX_KEYS, "names and patterns"),
            (size, MAX_INTEREST_BYTES, f"bytes of {keys:,} names and patterns"),
        ):
            if number > most:
                raise LimitReached(
                    f"federation {self._federation!r}: {number:,} {what} would be attached to, and"
                    f" a process can have {most:,}: use one pattern that covers many"
                )

    def interest_changed(self, key: str, wanted: bool) -> None:
        """Tell peers that this process wants a name or pattern from now on, or no longer."""
        engine = self._engine()
        if engine is not None:
            engine.want(key, wanted)

    def check_responders(self, exchanges: int) -> None:
        """Raise LimitReached if peers would not accept so many exchanges with responders."""
        if exchanges > MAX_RESPONDERS:
            raise LimitReached(
                f"federation {self._federation!r}: responders on {exchanges:,} exchanges, and a"
                f" process can have them on {MAX_RESPONDERS:,}"
            )

    def responders_changed(self, name: str, answers: bool) -> None:
        """Tell peers that this process answers on an exchange from now on, or no longer."""
        engine = self._engine()
        if engine is not None and engine.scope(name):
            engine.answers(name, answers)

    def check_members(self, members: int) -> None:
        """Raise LimitReached if peers would not accept so many members of groups."""
        if members > MAX_MEMBERS:
            raise LimitReached(
                f"federation {self._federation!r}: {members:,} members of groups, and a process can"
                f" have {MAX_MEMBERS:,}"
            )

    def members_changed(self, member: Member, added: bool) -> None:
        """Tell peers that this process has a member of a group more, or one fewer."""
        engine = self._engine()
        if engine is not None:
            engine.members(member, added)

    def jobs_lost(self, exchange: str, group: str, first: int, last: int) -> None:
        """Report messages for a group that no member took."""
        engine = self._engine()
        if engine is not None:
            reason = f"no member of group {group!r}"
            engine.post(lambda: engine.lost(Lost(exchange, engine.me.hex(), first, last, reason)))

    def history_added(self, key: str, catch_up: CatchUp) -> None:
        """Ask peers for the history that a late joiner wants."""
        engine = self._engine()
        if engine is None:
            catch_up.begun(self)
            catch_up.alone(self)
            return
        catch_up.me = engine.me.hex()
        if not engine.inbound.peers:
            catch_up.alone(self)  # then what is kept here need not wait for a thread
        engine.recall(key, catch_up, lambda: catch_up.noted(self))

    def owes(self, engine: "Engine", key: str, catch_up: CatchUp) -> None:
        """Ask the peers that the node meets while it joins for the history of an earlier joiner."""
        catch_up.me = engine.me.hex()
        catch_up.again(self)
        self._early.append(weakref.ref(catch_up))
        engine.recall(key, catch_up, lambda: catch_up.begun(self))

    def met(self) -> None:
        """Take note that the node has met every peer that was there.

        On the data thread; if a start has failed, on the thread that tried.
        """
        early, self._early = self._early, []
        for there in early:
            if (catch_up := there()) is not None:
                catch_up.noted(self)

    def retention_changed(self, exchange: Exchange[Any]) -> None:
        """Start or stop keeping an exchange's messages for late joiners elsewhere."""
        engine = self._engine()
        if engine is not None:
            engine.bridges.look(exchange)

    def message_refused(
        self, exchange: Exchange[Any], origin: str, seq: int | None, reason: str, detail: str
    ) -> bool:
        """Count a message that does not fit the type of its exchange, and show streams its place.

        Returns:
            Whether the message came by this node's federation; otherwise nothing is done.
        """
        engine = self._engine()
        if engine is None or not engine.inbound.thread.current:
            return False  # it came by another federation
        if seq is not None:
            exchange._report(Lost(exchange.name, origin, seq, seq, f"{reason}: {detail}"))
        engine.rejection_counter.add(origin, reason, detail)
        return True

    def _after_fork(self) -> None:
        """Forget the late joiners of the parent."""
        self._early = []

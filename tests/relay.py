"""A TCP relay that a test can cut, hold, slow down, or shut in one direction alone."""

import random
import selectors
import socket
import threading
import time
from contextlib import suppress

from tests.support import Deadline

MOST = 65536
TICK = 0.005
"""Seconds between two portions of a throttled connection."""


class Relay:
    """Forwards connections from a port of its own to a target port, until they are cut."""

    def __init__(self, target: int, port: int = 0) -> None:
        self._target = target
        self._server: socket.socket | None = socket.create_server(("127.0.0.1", port))
        self.port: int = self._server.getsockname()[1]
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._held = threading.Event()
        self._ended: set[socket.socket] = set()
        self._owed: dict[socket.socket, bytes] = {}
        """What an end has no room for yet: nothing more is read for it meanwhile."""
        self.seen: list[bytes] | None = None
        """What has passed, if a test has made it a list."""
        self.accepted = 0
        """Connections so far: after a cut, more of them show that it has healed."""
        self._open = self._listening = True
        self._refusing = self._holding = False
        self._pace: int | None = None
        self._clients: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    @property
    def connections(self) -> int:
        with self._lock:
            return len(self._pairs) // 2

    def cut(self, share: float = 1.0) -> None:
        """Reset every connection, or so much of them at random; new ones are accepted."""
        with self._lock:
            for end in list(self._clients):
                if random.random() < share:
                    self._drop(end)

    def refuse(self, refusing: bool = True, share: float = 1.0) -> None:
        """Close new connections at once and cut the others, or accept them again."""
        self._refusing = refusing
        if refusing:
            self.cut(share)

    def listen(self, listening: bool, share: float = 1.0) -> None:
        """Have nothing listen at the port and cut what there is, or listen again."""
        self._listening = listening
        deadline = Deadline()
        while (self._server is not None) is not listening and self._thread.is_alive():
            assert not deadline.over, "the relay's thread does not follow"
            time.sleep(0.001)
        if not listening:
            self.cut(share)

    def hold(self, holding: bool = True) -> None:
        """Forward nothing, and lose nothing, until told otherwise."""
        self._held.clear()
        self._holding = holding
        if holding:
            assert self._held.wait(5)

    def throttle(self, pace: int | None) -> None:
        """Forward so many bytes a second on each connection and direction; None: all there is."""
        self._pace = pace

    def half_close(self, towards_client: bool) -> None:
        """End every connection in one direction; what comes the other way is still forwarded.

        Args:
            towards_client: whether those who have connected hear nothing more; else they
                are not heard any more.
        """
        with self._lock:
            for end, other in list(self._pairs.items()):
                if end in self._pairs and (end not in self._clients) is towards_client:
                    self._end(end, other)

    def _drop(self, end: socket.socket, reset: bool = True) -> None:
        other = self._pairs.pop(end, None)
        if other is None:
            return
        self._pairs.pop(other, None)
        for side in (end, other):
            self._owed.pop(side, None)
        self._ended -= {end, other}
        self._clients -= {end, other}
        for side in (end, other):
            with suppress(OSError):
                if reset:
                    # Linger 0: nothing that was queued gets through.
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                side.shutdown(socket.SHUT_RDWR)
            side.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            assert self._server is not None
            selector.register(self._server, selectors.EVENT_READ)
            while self._open:
                self._listen(selector)
                if self._holding:
                    self._held.set()
                    time.sleep(0.002)
                    continue
                server = self._server
                for key, events in selector.select(0.05):
                    if key.fileobj is server:
                        self._accept()
                        continue
                    if events & selectors.EVENT_WRITE:
                        self._pay(key.fileobj)  # type: ignore[arg-type]
                    if events & selectors.EVENT_READ:
                        self._forward(key.fileobj)  # type: ignore[arg-type]
                if self._pace is not None:
                    time.sleep(TICK)
                with self._lock:
                    self._watch(selector)

    def _watch(self, selector: selectors.BaseSelector) -> None:
        """Wait for each end to be read, unless the other has no room, or to have room."""
        wanted: dict[socket.socket, int] = dict.fromkeys(self._owed, selectors.EVENT_WRITE)
        for end, other in self._pairs.items():
            if end not in self._ended and other not in self._owed:
                wanted[end] = wanted.get(end, 0) | selectors.EVENT_READ
        for key in list(selector.get_map().values()):
            end = key.fileobj
            if end is not self._server and wanted.get(end) != key.events:  # type: ignore[call-overload]
                selector.unregister(end)
        known = {key.fileobj for key in selector.get_map().values()}
        for end, events in wanted.items():
            if end not in known:
                selector.register(end, events)

    def _listen(self, selector: selectors.BaseSelector) -> None:
        """Listen, or do not, as was asked."""
        if self._server is not None and not self._listening:
            selector.unregister(self._server)
            self._server.close()
            self._server = None
        elif self._server is None and self._listening:
            self._server = socket.create_server(("127.0.0.1", self.port))
            selector.register(self._server, selectors.EVENT_READ)

    def _accept(self) -> None:
        assert self._server is not None
        client, _ = self._server.accept()
        if self._refusing:
            client.close()
            return
        try:
            server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
        except OSError:
            client.close()
            return
        for end in (client, server):
            end.setblocking(False)
        with self._lock:
            self._pairs[client], self._pairs[server] = server, client
            self._clients.add(client)
            self.accepted += 1

    def _forward(self, end: socket.socket) -> None:
        with self._lock:
            other = self._pairs.get(end)
        if other is None:
            return
        pace = self._pace
        try:
            data = end.recv(MOST if pace is None else max(1, min(MOST, int(pace * TICK))))
            if data:
                if self.seen is not None:
                    self.seen.append(data)
                self._send(other, data)
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        with self._lock:
            self._end(end, other)

    def _send(self, end: socket.socket, data: bytes) -> None:
        """Send as much as there is room for, and remember the rest."""
        try:
            sent = end.send(data)
        except BlockingIOError:
            sent = 0
        with self._lock:
            if end in self._pairs and data[sent:]:
                self._owed[end] = data[sent:]

    def _pay(self, end: socket.socket) -> None:
        """Send what an end had no room for: whoever does not read holds nobody else."""
        with self._lock:
            data, other = self._owed.pop(end, b""), self._pairs.get(end)
        try:
            if data:
                self._send(end, data)
        except OSError:
            with self._lock:
                if other is not None:
                    self._end(other, end)

    def _end(self, end: socket.socket, other: socket.socket) -> None:
        """Pass on that one side has ended: the other may still have something to say."""
        self._ended.add(end)
        if other in self._ended or end not in self._pairs:
            self._drop(end, reset=False)
            return
        with suppress(OSError):
            other.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._open = False
        self._thread.join(5)
        self.cut()
        if self._server is not None:
            self._server.close()

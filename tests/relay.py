"""A TCP relay that a test can cut: what is in flight on its connections is lost."""

import selectors
import socket
import threading
from contextlib import suppress


class Relay:
    """Forwards connections from a port of its own to a target port, until they are cut."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._open = True
        self._refusing = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    @property
    def connections(self) -> int:
        with self._lock:
            return len(self._pairs) // 2

    def cut(self) -> None:
        """Reset every connection; new ones are accepted."""
        with self._lock:
            for end in list(self._pairs):
                self._drop(end)

    def refuse(self, refusing: bool = True) -> None:
        """Close new connections at once, or accept them again."""
        self._refusing = refusing
        if refusing:
            self.cut()

    def _drop(self, end: socket.socket) -> None:
        other = self._pairs.pop(end, None)
        if other is None:
            return
        self._pairs.pop(other, None)
        for side in (end, other):
            with suppress(OSError):
                # Linger 0: a reset, and nothing that was queued gets through.
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                side.shutdown(socket.SHUT_RDWR)
            side.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._server, selectors.EVENT_READ)
            while self._open:
                for key, _ in selector.select(0.05):
                    if key.fileobj is self._server:
                        self._accept()
                    else:
                        self._forward(key.fileobj)  # type: ignore[arg-type]
                with self._lock:
                    known = {key.fileobj for key in selector.get_map().values()}
                    for end in known - set(self._pairs) - {self._server}:
                        selector.unregister(end)
                    for end in set(self._pairs) - known:
                        selector.register(end, selectors.EVENT_READ)

    def _accept(self) -> None:
        client, _ = self._server.accept()
        if self._refusing:
            client.close()
            return
        try:
            server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
        except OSError:
            client.close()
            return
        with self._lock:
            self._pairs[client], self._pairs[server] = server, client

    def _forward(self, end: socket.socket) -> None:
        with self._lock:
            other = self._pairs.get(end)
        if other is None:
            return
        try:
            data = end.recv(65536)
            if data:
                other.sendall(data)
                return
        except OSError:
            pass
        with self._lock:
            self._drop(end)

    def close(self) -> None:
        self._open = False
        self._thread.join(5)
        self.cut()
        self._server.close()

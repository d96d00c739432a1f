"""Looks up host names, on threads of their own: a look-up may take half a minute.

libzmq would look names up on the one thread that serves all connections of a node, and would use
only one of several addresses. Therefore only addresses are dialled, and names are resolved here.
Nothing here knows why an endpoint is dialled.
"""

import socket
import threading
from collections.abc import Callable

from .endpoints import Tcp, as_host, parse_tcp

MOST = 64
"""Most look-ups at a time. Peers may tell us any number of names."""
Post = Callable[[Callable[[], None]], None]
Found = Callable[[list[str], str], None]


class Resolver:
    """The look-ups of one node. Called on its control thread, which also gets the answers.

    Args:
        post: runs a command on the control thread.
    """

    def __init__(self, post: Post) -> None:
        self._post = post
        self._asking: dict[str, list[Found]] = {}

    def ask(self, endpoint: str, found: Found) -> None:
        """Look up the host of a TCP endpoint.

        ``found`` is called with its endpoints, best first, as the operating system sorts them (RFC
        6724), and an empty text; or with no endpoints and the reason. Callers that ask for the same
        name at the same time share one look-up.
        """
        if endpoint not in self._asking and len(self._asking) >= MOST:
            found([], f"over {MOST} names are being looked up")
            return
        waiting = self._asking.setdefault(endpoint, [])
        waiting.append(found)
        if len(waiting) == 1:
            threading.Thread(
                target=self._ask, args=(endpoint,), name="zexchange-names", daemon=True
            ).start()

    def literal(self, endpoint: str, then: Callable[[str], None], turn: int = 0) -> None:
        """Call ``then`` with an endpoint whose host is an address.

        It is called at once if the host is an address already. Of several addresses it gets the one
        at index ``turn``, counted round and round, so that each attempt can try another. It is not
        called if there is none.
        """
        if not needs_lookup(endpoint):
            then(endpoint)
            return
        self.ask(endpoint, lambda found, why: then(found[turn % len(found)]) if found else None)

    def _ask(self, endpoint: str) -> None:
        found, why = look_up(endpoint)
        self._post(lambda: self._answer(endpoint, found, why))

    def _answer(self, endpoint: str, found: list[str], why: str) -> None:
        for waiting in self._asking.pop(endpoint, []):
            waiting(found, why)


def needs_lookup(endpoint: str) -> bool:
    """Return whether the host of an endpoint is a name."""
    try:
        return not parse_tcp(endpoint).literal
    except ValueError:
        return False


def look_up(endpoint: str) -> tuple[list[str], str]:
    """Return the endpoints of one with a host name; or none, and the reason. Blocks."""
    tcp = parse_tcp(endpoint)
    try:
        answers = socket.getaddrinfo(tcp.host, tcp.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: a label that is too long
        return [], getattr(error, "strerror", None) or str(error)
    families = {socket.AF_INET, socket.AF_INET6}
    hosts = [as_host(str(where[0])) for family, *_, where in answers if family in families]
    found = [str(Tcp(host, tcp.port)) for host in dict.fromkeys(hosts)]
    return found, "" if found else "it has no address"

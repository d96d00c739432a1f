"""Finds nodes on the local network by multicast DNS, with the library zeroconf.

A node tells everybody on the network its addresses and port, and a digest of its federation's name,
so that nodes of other federations need not be dialled. It trusts nothing that others tell: an
address found is dialled like any candidate, and the node there is authenticated like any.

zeroconf has a thread of its own, and its calls may take seconds. So all calls are made on a
separate thread, which knows nothing of the node but the arguments of `MdnsDiscovery`.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from ...errors import Unreachable
from ...imports import importing
from ...local.process.logs import log
from ..transport.dns import Post
from ..transport.endpoints import Tcp, as_host

SERVICE = "_zexchange._tcp.local."
MOST = 4096
"""Services remembered: anybody on the network may announce any number."""
MOST_ADDRESSES = 16
ANSWER_MS = 3000
LOOK_EVERY = 5.0
"""Seconds between two checks whether our own addresses have changed."""
ANNOUNCE_EVERY = 60.0
"""Seconds between two announcements of our service.

Other hosts forget a service that was not heard of for 75 minutes, and query once an hour at most.
"""

Seen = Callable[[str, tuple[str, ...]], None]


def library() -> Any:
    """Return the library.

    Raises:
        Unreachable: it is not installed; the text says what to do.
    """
    try:
        with importing():
            import zeroconf
    except ImportError:
        raise Unreachable(
            "peers=['lan'] needs the library zeroconf: pip install 'zexchange[discovery]'"
        ) from None
    return zeroconf


def digest(federation: str) -> bytes:
    """Return a digest of a federation's name, by which nodes tell federations apart."""
    return hashlib.sha256(federation.encode()).hexdigest()[:16].encode()


class MdnsDiscovery:
    """One node on the local network.

    Args:
        federation: the federation to look for.
        node: the name to be known under.
        listen: the endpoint that we are bound to; it decides which interfaces are used.
        control: the control endpoint that other nodes are told to dial.
        post: runs a command on the control thread.

    Raises:
        Unreachable: as `library`.
    """

    def __init__(self, federation: str, node: str, listen: Tcp, control: Tcp, post: Post) -> None:
        self._library = library()
        self._digest = digest(federation)
        self._name = f"{node}.{SERVICE}"
        self._listen = listen
        self._control = control
        self._post = post
        self._seen: Seen = lambda service, endpoints: None
        self._closing = threading.Event()
        self._known: set[str] = set()
        self._thread = threading.Thread(target=self._work, name="zexchange-lan", daemon=True)

    def start(self, seen: Seen) -> None:
        """Start the thread. ``seen`` is called on the control thread with a service's endpoints."""
        self._seen = seen
        self._thread.start()

    def close(self) -> None:
        """Say goodbye to the network, in the background."""
        self._closing.set()

    def join(self, timeout: float) -> None:
        """Wait until the goodbye is sent. Nodes that miss it dial us for another hour."""
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _work(self) -> None:
        while not self._closing.is_set():
            try:
                self._be_there(own_addresses(self._listen))
            except Exception as error:
                # There is no network yet, or no longer; zeroconf reports that by many kinds of
                # errors.
                log.warning("nobody is looked for on the local network now: %s", error)
                self._closing.wait(LOOK_EVERY)

    def _be_there(self, addresses: list[str]) -> None:
        """Browse and be registered until the node closes or our addresses change."""
        zeroconf = self._library.Zeroconf(interfaces=addresses, use_asyncio=False)
        try:
            # Browse first: registering takes a second.
            browser = self._library.ServiceBrowser(zeroconf, SERVICE, handlers=[self._changed])
            info = self._info(addresses)
            zeroconf.register_service(info)
            announced_at = time.monotonic()
            while not self._closing.wait(LOOK_EVERY) and own_addresses(self._listen) == addresses:
                if time.monotonic() - announced_at >= ANNOUNCE_EVERY:
                    announced_at = time.monotonic()
                    zeroconf.update_service(info)
            browser.cancel()
        finally:
            zeroconf.close()

    def _info(self, addresses: list[str]) -> Any:
        told = self._control
        fixed = told.literal and not told.wild
        return self._library.ServiceInfo(
            SERVICE,
            self._name,
            port=self._control.port,
            properties={b"federation": self._digest},
            server=f"{self._name.partition('.')[0]}.local.",
            parsed_addresses=[told.host.strip("[]")] if fixed else addresses,
        )

    def _changed(self, zeroconf: Any, service_type: str, name: str, state_change: Any) -> None:
        """Called by zeroconf on its browser's thread."""
        if name == self._name or (name not in self._known and len(self._known) >= MOST):
            return
        endpoints: tuple[str, ...] = ()
        if state_change is not self._library.ServiceStateChange.Removed:
            self._known.add(name)
            info = zeroconf.get_service_info(service_type, name, ANSWER_MS)
            if info is None or info.properties.get(b"federation") != self._digest:
                return
            endpoints = as_endpoints(info.parsed_scoped_addresses(), info.port)
        elif name in self._known:
            self._known.discard(name)
        self._post(lambda: self._seen(name, endpoints))


def as_endpoints(addresses: Sequence[str], port: int | None) -> tuple[str, ...]:
    """Return the endpoints of a service."""
    return tuple(str(Tcp(as_host(a), port)) for a in addresses[:MOST_ADDRESSES] if port)


def own_addresses(listen: Tcp) -> list[str]:
    """Return the addresses that we are bound to: of every interface if the host is a wildcard."""
    if not listen.wild:
        return [listen.host.strip("[]")]
    with importing():
        from ifaddr import get_adapters

    ips = [ip for adapter in get_adapters() for ip in adapter.ips]
    four = [str(ip.ip) for ip in ips if ip.is_IPv4 and not str(ip.ip).startswith("127.")]
    if listen.host != "[::]":
        return four
    six = [str(ip.ip[0]) for ip in ips if ip.is_IPv6]
    return [*four, *(a for a in six if a != "::1" and not a.startswith("fe80"))]

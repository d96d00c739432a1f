"""Where a node can be found: its bound endpoints, and its place in the rendezvous directory."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import zmq

from ...errors import Unreachable
from ...local.process.logs import log
from ...protocol.session.session import Session
from ...protocol.wire.envelopes import node_at
from ...protocol.wire.messages import Address
from ..config import NodeConfig
from ..security.guard import CurveGuard
from ..transport.descriptors import RESERVE, ROOM, Shortage
from ..transport.endpoints import Tcp, parse_tcp, reachable
from .directories import bases
from .rendezvous import Rendezvous

BIND_ATTEMPTS = 10
LATER = ("zexchange.net.doctor.collect", "concurrent.futures.thread")
"""Modules that are imported at first use; without a free descriptor that would fail."""
RESTORED_MOST = 64
"""How often removed sockets are bound again. Each time takes two more descriptors."""
RESCAN = 2.0
"""Seconds between two looks into the rendezvous directory."""


class Listeners:
    """The endpoints of one node, bound when made.

    Control thread only, except where stated otherwise.
    """

    def __init__(
        self,
        plan: NodeConfig,
        node: str,
        router: "zmq.Socket[bytes]",
        xpub: "zmq.Socket[bytes]",
        guard: CurveGuard,
        descriptors: Callable[[int], int | None],
        apart: Callable[[Callable[[], object]], None],
    ) -> None:
        self._guard = guard
        self._shortage = Shortage(descriptors)
        self._router, self._xpub, self._apart = router, xpub, apart
        self._restored = 0
        self._near: Address
        self.trouble = ""
        """Why nodes on this host cannot find us although they should; empty if they can."""
        self._rendezvous = Rendezvous(plan.federation, node) if plan.local else None
        self._rescan_at = 0.0
        self._hubs = bool(plan.hubs)
        self.bound: tuple[str, ...] = ()
        try:
            self.addresses = tuple(self._bind(plan, router, xpub))
        except BaseException:
            self.withdraw()
            raise

    def _bind(
        self, plan: NodeConfig, router: "zmq.Socket[bytes]", xpub: "zmq.Socket[bytes]"
    ) -> list[Address]:
        """Bind control and data endpoints; return the addresses to tell peers."""
        addresses: list[Address] = []
        if self._rendezvous:
            self._rendezvous.claim()
            control = _bind_here(router, self._rendezvous)
            # From now on the directory is not empty, so no other node removes it.
            addresses.append(Address(control, _bind(xpub, self._rendezvous.data)))
            self._near = addresses[0]
        # After the Unix sockets, which only this user can reach, and before TCP: endpoints that are
        # bound from here on speak CURVE.
        self._guard.lock(router)
        self._guard.lock(xpub)
        if plan.listen:
            control = _bind(router, str(plan.listen[0]))
            data = _bind(xpub, str(plan.listen[1]))
            self.bound = (control, data)
            if plan.advertise:
                control = _advertised(plan.advertise[0], control)
                data = _advertised(plan.advertise[1], data)
            addresses.append(Address(control, data))
        return addresses

    def publish(self) -> None:
        """Publish our control endpoint in the rendezvous directory."""
        if self._rendezvous:
            self._rendezvous.publish()

    def mind_descriptors(self, session: Session) -> None:
        """Hide our Unix sockets while few descriptors are left: libzmq would end the process."""
        before = self._shortage.short
        if self._rendezvous is None or self._shortage.look() is before:
            return
        if before:
            self._rendezvous.show()
        else:
            for later in LATER:
                import_module(later)
            self._rendezvous.hide()
            text = (
                f"fewer than {RESERVE}, so nobody on this host can connect anew until {ROOM} are "
                "left: raise the limit (ulimit -n), or close files"
            )
            session.reject("descriptors", "few file descriptors are left", text)

    @property
    def hidden(self) -> bool:
        """Whether nodes on this host cannot connect to us for want of descriptors. Any thread."""
        return self._rendezvous is not None and self._shortage.short

    def rescan(self, session: Session, now: float) -> bool:
        """Look every `RESCAN` seconds which nodes are there and which have gone.

        Skipped while few descriptors are left, since each new peer takes some. Returns whether the
        control socket was used: then its wake-up may have been consumed.
        """
        if self._rendezvous is None or now < self._rescan_at or self._shortage.short:
            return False
        self._rescan_at, restored = now + RESCAN, False
        try:
            if self._rendezvous.bereft():
                restored = True
                self._restore(self._rendezvous, session)
            self._rendezvous.mend()
            living = set(self._rendezvous.others())
        except (OSError, Unreachable) as error:
            self.trouble = str(error)
            session.reject("rendezvous", self.trouble)
            return restored
        self.trouble = ""
        for endpoint in living:
            session.candidates.add(endpoint, "rendezvous", now)
        session.candidates.keep(("rendezvous",), living)
        return restored

    def _restore(self, rendezvous: Rendezvous, session: Session) -> None:
        """Bind sockets again that somebody has removed, and tell the session where they are now.

        The old sockets stay bound although their paths are gone: to unbind them would cut every
        connection that was made there.
        """
        was = Path(self._near.control.removeprefix("ipc://")).parent
        if self._restored == RESTORED_MOST:
            raise Unreachable(f"the sockets in {was} are removed over and over")
        self._restored += 1
        rendezvous.restore()
        control = self._bind_again(self._router, rendezvous.control)
        data = list[str]()
        self._apart(lambda: data.append(self._bind_again(self._xpub, rendezvous.data)))
        near = Address(control, data[0])
        self.addresses = tuple(near if a == self._near else a for a in self.addresses)
        self._near = near
        session.addresses = self.addresses
        log.warning(
            "the sockets in %s were removed, and were made again in %s: a cleaner of temporary"
            " files does so, and the end of a login. ZEXCHANGE_DIR names another place",
            *(was, Path(near.control.removeprefix("ipc://")).parent),
        )

    def _bind_again(self, socket: "zmq.Socket[bytes]", endpoint: str) -> str:
        """Bind a Unix socket again, without the encryption that is set for TCP."""
        self._guard.leave_open(socket)
        try:
            return _bind(socket, endpoint)
        finally:
            self._guard.lock(socket)

    @property
    def looked_into(self) -> tuple[Path, ...]:
        """The directories in which nodes on this host are looked for. Any thread."""
        return bases() if self._rendezvous else ()

    def reachable(self, address: Address) -> bool:
        """Return whether an address that a peer has told could be dialled from here."""
        if node_at(address.control) is not None:
            return self._hubs
        rendezvous = self._rendezvous
        return reachable(address, rendezvous.ours if rendezvous else lambda path: False)

    def withdraw(self) -> None:
        """Take our file and sockets out of the rendezvous directory."""
        if self._rendezvous:
            self._rendezvous.withdraw()

    def release(self) -> None:
        """Release the parent's lock. In a forked child."""
        if self._rendezvous:
            self._rendezvous.release()


def _bind_here(router: "zmq.Socket[bytes]", rendezvous: Rendezvous) -> str:
    """Bind the control socket in a directory that others may be removing at this moment."""
    for _ in range(BIND_ATTEMPTS - 1):
        rendezvous.prepare()
        try:
            return _bind(router, rendezvous.control)
        except Unreachable:
            if rendezvous.directory.exists():
                break
    rendezvous.prepare()
    return _bind(router, rendezvous.control)


def _advertised(advertise: Tcp, bound: str) -> str:
    """Return the endpoint to tell peers: port 0 becomes the port that was bound."""
    return str(Tcp(advertise.host, advertise.port or parse_tcp(bound).port))


def _bind(socket: "zmq.Socket[bytes]", endpoint: str) -> str:
    """Bind an endpoint and return it as bound.

    Raises:
        Unreachable: if it is taken or cannot be bound.
    """
    try:
        if endpoint.startswith("tcp://["):
            socket.setsockopt(zmq.IPV6, 1)
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        taken = "another process listens there: take a port of your own, or port 0"
        hint = taken if error.errno == zmq.EADDRINUSE else "check it"
        raise Unreachable(f"cannot listen on {endpoint}: {error} ({hint})") from error
    return bytes(socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()

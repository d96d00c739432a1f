"""Keys at every TCP socket of a node: which keys may connect, and which key is expected where.

Control thread only, except where stated otherwise. libzmq does CURVE and its handshake. This module
gives it our key, answers its questions which keys may connect (ZAP), and watches the result.
Sockets on this host that only the same user can reach are not encrypted. Without keys only the
watching is left.

The file is long because these parts change the same few tables: which key is tried at an endpoint,
what the monitor reports about that, and what follows.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from ...protocol.hub.client import HubSelector
from ...protocol.hub.rights import DelegatedRights
from ...protocol.interest.permitted import Said, as_seen_by
from ...protocol.security.key_search import KeySearch, keys_to_try
from ...protocol.security.keys import id_for
from ...protocol.security.permissions import EVERYTHING, NOTHING, Policy
from ..transport.endpoints import host_of, parse_tcp
from ..transport.polling import Poller
from ..transport.sockets import Sockets
from . import monitors as h
from .connections import Connections, canonical
from .key_directory import KeyDirectory
from .monitors import SocketMonitors
from .subscription_filter import SubscriptionFilter, user_of

if TYPE_CHECKING:
    from ..transport.sockets import Socket

DOMAIN, NEAR, PUBLISHING = "zexchange", "zexchange-near", "zexchange-data"
"""The domains in libzmq's questions: of connections with keys, of those at a Unix socket, and of
those with keys at the socket that a node publishes on."""
LOOK_EVERY = 0.5
"""Seconds between two checks whether a file in the key directory has changed."""
REQUESTS_AT_ONCE = 256
MOST_TRIALS = 4096
_DIALLED = h.STANDS | h.BROKEN_OFF | h.MALFORMED | h.REFUSED


class AuthListener:
    """The owner of the links: it is told how connections fail, and asked to dial again."""

    def turned_away(self, source: str, reason: str, detail: str) -> None:
        """Take note that a connection was not made, to an endpoint or from a peer."""

    def shut_out(self, endpoint: str) -> None:
        """Take note that our key was refused at an endpoint."""

    def try_again(self, endpoint: str) -> None:
        """Dial an endpoint again, with the next key."""

    def hang_up(self, endpoint: str) -> None:
        """Close the link to an endpoint, until it is time to dial it again."""


class CurveGuard:
    """The keys of one node or hub, and what they permit.

    Attributes:
        listener: told what happens; set before anything is dialled or bound.
    """

    listener = AuthListener()

    def __init__(self, keys: Path | None) -> None:
        self._keyring = KeyDirectory(keys) if keys is not None else None
        self._look_at = 0.0
        self._trials: dict[str, KeySearch] = {}
        self._using: dict[str, bytes] = {}
        self._to_hubs: set[str] = set()
        self._connections = Connections()
        self.gate = (
            SubscriptionFilter(self.in_force, self._refused_at_gate) if self._keyring else None
        )

    @property
    def policy(self) -> Policy | None:
        """The authorized keys and their permissions; None without keys. Any thread."""
        return self._keyring.policy if self._keyring else None

    def in_force(self) -> Policy:
        """Return the authorized keys and their permissions; only with keys. Any thread."""
        assert self._keyring is not None
        return self._keyring.policy

    def node_id(self, fresh: bytes) -> bytes:
        """Return the id of a new node; with keys it is made from our public key."""
        return id_for(self._keyring.public, fresh) if self._keyring else fresh

    def vouching(self, hubs: HubSelector) -> DelegatedRights | None:
        """Return the judge of the nodes for which hubs speak; None without keys or hubs."""
        if self.gate is None or not hubs.hubs:
            return None
        self.gate.hubs = {}
        return DelegatedRights(self.in_force, hubs)

    def open(self, sockets: Sockets, poller: Poller, control: "Socket", data: "Socket") -> None:
        """Watch and judge all connections from now on. Call before anything is bound.

        With keys, the listener is also told of connections to our two sockets that fail for want of
        a key.
        """
        self._handshakes = SocketMonitors(sockets, poller, self._told)
        self._zap: Socket | None = None
        if self._keyring:
            self._zap = sockets.zap()
            poller.watch(int(self._zap.getsockopt(zmq.FD)), self._answer)
            self._handshakes.watch(CONTROL, control, h.MALFORMED)
            self._handshakes.watch(DATA, data, h.MALFORMED)

    # ------------------------------------------------------------------------ our sockets

    def lock(self, bound: "Socket") -> None:
        """Have a socket use CURVE at the endpoints that it is bound to from here on.

        libzmq copies the options with each bind: earlier endpoints stay as they are. Without keys
        only the domain is set, for which nobody answers. That has one effect: only connections of
        ZMTP 3 are accepted, since frames of older ones do not tell by which connection they came.
        """
        publishes = bound.getsockopt(zmq.TYPE) == zmq.XPUB
        bound.setsockopt_string(zmq.ZAP_DOMAIN, PUBLISHING if publishes else DOMAIN)
        if self._keyring:
            bound.setsockopt(zmq.CURVE_SERVER, 1)
            bound.setsockopt(zmq.CURVE_SECRETKEY, self._keyring.secret)
            # Unless we answer, no connection is accepted.
            bound.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def leave_open(self, bound: "Socket") -> None:
        """Undo `lock`, for the Unix sockets that a socket is bound to from here on.

        libzmq cannot remove the domain and asks about each connection there; `_judge` knows the
        name.
        """
        if self._keyring:
            bound.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 0)
            bound.setsockopt(zmq.CURVE_SERVER, 0)
            bound.setsockopt_string(zmq.ZAP_DOMAIN, NEAR)

    def unlock(self, dialling: "Socket", endpoint: str, key: bytes) -> bool:
        """Have a socket expect a key at the endpoint that it is about to dial. Any thread.

        Returns:
            Whether it may be dialled: with keys, only if the expected key is authorized.
        """
        if self._keyring is None or not endpoint.startswith("tcp:"):
            return True
        if self._keyring.policy.rights(key) is None:
            return False
        dialling.setsockopt(zmq.CURVE_SERVERKEY, key)
        dialling.setsockopt(zmq.CURVE_PUBLICKEY, self._keyring.public)
        dialling.setsockopt(zmq.CURVE_SECRETKEY, self._keyring.secret)
        return True

    def unlock_hub(self, dialling: "Socket", endpoint: str, key: bytes) -> bool:
        """Have a socket expect a hub's key at the endpoint that it is about to dial. Any thread.

        Returns:
            Whether it may be dialled: only if the expected key is marked ``hub``.
        """
        return self.may_carry(key) and self.unlock(dialling, endpoint, key)

    def unlock_up(self, xpub: "Socket", endpoint: str, key: bytes) -> bool:
        """Have our data socket expect a hub's key at the endpoint that it is about to dial.

        Called under the lock of the data socket, with an address as the host of the endpoint.
        """
        if self.gate is None:
            return True
        tcp = parse_tcp(endpoint)
        hubs = self.gate.hubs = self.gate.hubs or {}
        hubs.pop((canonical(tcp.host), tcp.port), None)
        hubs[canonical(tcp.host), tcp.port] = key
        if len(hubs) > MOST_TRIALS:
            del hubs[next(iter(hubs))]
        return self.unlock_hub(xpub, endpoint, key)

    def may_carry(self, key: bytes) -> bool:
        """Return whether the owner of a key may be a hub for us; true without keys. Any thread."""
        return self._keyring is None or self._keyring.policy.is_hub(key)

    def approach(
        self, link: "Socket", endpoint: str, key: bytes = b"", hub: bool = False
    ) -> bytes | None:
        """Have a link expect a key at its endpoint: the one given, or the next one to try.

        Returns:
            The key; None if there is none to try. A key that is no hub's may be tried where a hub
            is expected: then nothing is sent to it, but the mistake is reported.
        """
        if not endpoint.startswith("tcp:"):
            return b""
        if hub:
            self._to_hubs.add(endpoint)
        if self._keyring:
            chosen = self._choose(endpoint, key)
            if chosen is None or not self.unlock(link, endpoint, chosen):
                return None
            key = self._using[endpoint] = chosen
        self._handshakes.watch(endpoint, link, _DIALLED)
        return key if self._keyring else b""

    def _choose(self, endpoint: str, key: bytes) -> bytes | None:
        assert self._keyring is not None
        trial = self._trials.setdefault(endpoint, KeySearch())
        if len(self._trials) > MOST_TRIALS:
            del self._trials[next(iter(self._trials))]
        if not trial.left:
            policy, hub = self._keyring.policy, endpoint in self._to_hubs
            trial.begin([key] if key else keys_to_try(policy, host_of(endpoint), hub))
        return trial.next()

    def hung_up(self, endpoint: str) -> None:
        """Take note that the link to an endpoint is about to be closed."""
        self._handshakes.forget(endpoint)
        self._using.pop(endpoint, None)

    def shaped(self, message: Said, key: bytes) -> Said:
        """Return a message without the names that the owner of the key at its link may not know."""
        policy = self.policy
        rights = policy.rights(key) if policy and key else EVERYTHING
        return as_seen_by(message, rights or NOTHING)  # None: just revoked

    # ---------------------------------------------------------------- what goes on at them

    def user(self, frame: zmq.Frame) -> bytes | None:
        """Return the key that a control frame came with; None if that key may not speak.

        It is empty without keys, and for the same user on this host.
        """
        if self._keyring is None:
            return b""
        key = user_of(frame)
        if key:
            if self._keyring.policy.rights(key) is None:
                return None
            self._connections.note(key, int(frame.get(zmq.SRCFD)))
        return key

    def _answer(self) -> None:
        """Answer the questions of libzmq whether keys may connect (ZAP, RFC 27)."""
        assert self._zap is not None
        for _ in range(REQUESTS_AT_ONCE):
            try:
                request = self._zap.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._zap.send_multipart(self._judge(request))

    def _judge(self, request: list[bytes]) -> list[bytes]:
        version, number = [*request, b"", b""][:2]
        if len(request) == 6 and (request[2], request[5]) == (NEAR.encode(), b"NULL"):
            return [version, number, b"200", b"OK", b"", b""]
        mechanism, key = (request[5], request[6]) if len(request) == 7 else (b"", b"")
        if mechanism == b"CURVE" and self.in_force().rights(key) is not None:
            publishing = request[2] == PUBLISHING.encode()
            if publishing and self.gate is not None and not self.gate.room(key):
                # libzmq hangs up without a word, and the peer tries again.
                self.listener.turned_away(key.hex(), "more subscriptions than are kept", "")
                return [version, number, b"300", b"not now", b"", b""]
            return [version, number, b"200", b"OK", key.hex().encode(), b""]
        source = request[3].decode(errors="replace") if len(request) > 3 else ""
        detail = f"not authorized here: {key.hex()}"
        self.listener.turned_away(source or "control", "key unknown", detail)
        return [version, number, b"400", b"key unknown", b"", b""]

    def _told(self, name: str, event: int, value: int) -> None:
        """Take an event of a connection that was being made."""
        using = self._using.get(name)
        trial = self._trials.get(name)
        if name in (CONTROL, DATA):
            known = _BROKEN.get(value, ("broken handshake", f"{value:#x}"))
            self.listener.turned_away(name, *known)
        elif event == h.STANDS:
            self._handshakes.forget(name)
            if trial is not None and using is not None:
                trial.stands(using)
                if name in self._to_hubs and not self.may_carry(using):
                    self.listener.turned_away(name, "no hub's key", self._not_a_hub(using))
        elif event == h.REFUSED:
            if trial is not None and using is not None:
                trial.stands(using)
            self.listener.turned_away(name, "key unknown there", "our key is not authorized there")
            self.listener.shut_out(name)
        elif event == h.MALFORMED and value == h.OTHER_MECHANISM:
            self.listener.turned_away(name, *(_PLAIN if self._keyring else _LOCKED))
        elif event == h.BROKEN_OFF and trial is not None:
            self._try_another(name, trial)

    def _not_a_hub(self, key: bytes) -> str:
        rights = self.in_force().rights(key)
        name = rights.name if rights and rights.name else "NAME"
        return f"it may not carry others here: hub = true under [{name}] in permissions.toml"

    def _try_another(self, endpoint: str, trial: KeySearch) -> None:
        """Try the next key at an endpoint, or leave it alone for a while."""
        if trial.failed():
            self.listener.try_again(endpoint)
            return
        if trial.rounds > 1:  # in the first round the peer may have left during a handshake
            detail = f"none of the {trial.tried} authorized keys is that node's"
            self.listener.turned_away(endpoint, "wrong key", detail)
        elif trial.tried == 1:
            return  # libzmq connects again, perhaps to another node that is there by then
        self.listener.hang_up(endpoint)

    def _refused_at_gate(self, key: bytes, reason: str, detail: str) -> None:
        self.listener.turned_away(key.hex() or DATA, reason, detail)

    # ------------------------------------------------------------------------------- time

    def tick(self, now: float) -> Policy | None:
        """Let time pass; return the policy if it has changed."""
        self._handshakes.poll()
        if self._zap is not None:
            self._answer()
        if self._keyring is None or now < self._look_at:
            return None
        self._look_at = now + LOOK_EVERY
        return self._keyring.refresh()

    def cut(self, changed: Iterable[bytes]) -> None:
        """Cut the connections of some keys. Peers that are still authorized reconnect.

        Call while no other thread uses the data socket, so that no subscription is judged by the
        former policy.
        """
        for key in changed:
            self._connections.cut(key)
            if self.gate is not None:
                self.gate.connections.cut(key)

    def close(self) -> None:
        """Close the monitors and the ZAP socket. Call last, or no goodbye could be sent."""
        self._handshakes.close()
        if self._zap is not None:
            self._zap.close(linger=0)
            self._zap = None


CONTROL, DATA = "control", "data"
_PLAIN = "not encrypted there", "it has no keys: give it keys, too"
_LOCKED = "encrypted there", "it has keys: join with keys, too"
_BROKEN = {
    h.OTHER_MECHANISM: ("no key", "somebody came without encryption"),
    h.NOT_OUR_KEY: ("not our key", ""),  # a peer without our key tries one after another
}

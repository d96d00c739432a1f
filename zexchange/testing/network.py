"""`Network`: nodes of one process, joined by a wire that a test can make as bad as it likes.

The nodes are the real ones, down to the frames. Sockets, threads, the rendezvous directory and time
are simulated.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from ..errors import NotReady
from ..local.registry import Registry
from ..net.config import make_plan
from ..net.node.node import Node
from .rest import begin_groups, unsettled, vanish
from .schedule import Host, Schedule
from .threads import CallerBell, CallerEvent, Worker
from .wire import Faults, Wire
from .world import Directory, SimulatedEnvironment


class Network:
    """A network of nodes without sockets and threads, and a clock that the test moves.

    Everything happens on the caller's thread, and only inside calls: `settle`, `advance`, `until`,
    a `send` that waits for room, a request, `Node.flush`, `Node.wait_*` and `Node.close`. They let
    events happen, and the clock move, until their condition holds. Do not use a wait that knows
    nothing of the network, such as `Stream.get`: nothing would happen meanwhile. Tasks attached to
    ``node.registry`` are called as in a real node, with one message after the other.

    The same seed gives the same run, if the program does the same and hashes the same
    (``PYTHONHASHSEED``). Use it as a context manager: at the end the nodes that are left vanish, as
    if their processes were killed.

    Args:
        seed: of everything that is left to chance.
    """

    def __init__(self, seed: int = 0) -> None:
        self._schedule = Schedule(seed)
        self._wire = Wire(self._schedule, seed)
        self._random = random.Random(f"ids {seed}")
        self._directory = Directory(dict)
        self._worlds: dict[Node, SimulatedEnvironment] = {}

    # -------------------------------------------------------------------------- nodes

    def node(
        self,
        name: str,
        federation: str = "simulated",
        *,
        registry: Registry | None = None,
        exchanges: str | tuple[str, ...] = "**",
        replay_messages: int = 1_000_000,
        replay_bytes: int = 32 * 1024 * 1024,
        stall: float = 1.0,
        recovery_timeout: float = 5.0,
        retain: Mapping[str, int] | None = None,
        conflate: Sequence[str] = (),
        join_timeout: float = 1.0,
    ) -> Node:
        """Start a node in a process of its own, called ``name``, and have it join.

        It is the `Node` that `zexchange.federate` returns, and arguments with the same names mean
        the same as those of `federate`. Tasks are attached to ``node.registry``, which is a new
        registry unless one is given. With ``join_timeout=0`` nothing happens yet.

        Raises:
            ValueError: a node of that name is running already.
        """
        if any(world.host.name == name for world in self._worlds.values()):
            raise ValueError(f"a node called {name!r} runs already: stop or kill it first")
        plan = replace(
            make_plan(federation, None, None, (), True, exchanges, name, False),
            replay_messages=replay_messages,
            replay_bytes=replay_bytes,
            stall=stall,
            recovery_timeout=recovery_timeout,
        )
        world = SimulatedEnvironment(
            self._schedule, self._wire, self._directory, Host(name), self._random
        )
        registry = registry or Registry()
        for pattern, n in (retain or {}).items():
            registry.retain(pattern, n)
        for pattern in conflate:
            registry.conflate(pattern)
        self._move(registry, world.host)
        node = Node(plan, registry, join_timeout, world)
        self._worlds[node] = world
        node._revive()
        return node

    def _move(self, registry: Registry, host: Host) -> None:
        """Have what a registry does happen in a simulated process."""
        schedule = self._schedule
        fresh = registry.monotonic != schedule.monotonic
        registry.time, registry.monotonic = schedule.time, schedule.monotonic
        registry.bell = partial(CallerBell, schedule)
        registry.event = partial(CallerEvent, schedule)
        registry.start_member = partial(Worker, schedule, host)
        if fresh:
            begin_groups(registry)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes that run or are stopped, oldest first."""
        self._worlds = {node: w for node, w in self._worlds.items() if not node._closed}
        return tuple(self._worlds)

    def kill(self, node: Node | str) -> None:
        """End a node's process at once: it says no goodbye, and all that it knew is lost."""
        node = self._find(node)
        world = self._worlds.pop(node)
        world.host.alive = False
        for party in list(world.host.parties):
            party.end()
        self._wire.kill(world.host)
        vanish(node)
        hosts = [w.host for n, w in self._worlds.items() if n.registry is node.registry]
        if hosts:  # the registry has another node, and so lives on
            self._move(node.registry, hosts[-1])
        else:
            begin_groups(node.registry)

    def stop(self, node: Node | str) -> None:
        """Stop a node's process until `resume`. It does nothing, and does not notice the pause."""
        self._worlds[self._find(node)].host.stopped = True

    def resume(self, node: Node | str) -> None:
        """Let a stopped process go on."""
        self._worlds[self._find(node)].host.stopped = False

    def _find(self, node: Node | str) -> Node:
        for known in self.nodes:
            if node is known or node == self._worlds[known].host.name:
                return known
        raise ValueError(f"no node {node!r} runs in this network")

    def _name(self, node: Node | str) -> str:
        return self._worlds[self._find(node)].host.name

    # ----------------------------------------------------------------------- the wire

    def faults(
        self,
        *,
        loss: float = 0.0,
        delay: tuple[float, float] = (0.0, 0.0),
        duplicate: float = 0.0,
        reorder: float = 0.0,
    ) -> None:
        """Set how bad the wire is from now on; without arguments it is good again.

        Args:
            loss: the probability that a data frame is lost.
            delay: additional seconds for each frame, from a minimum to a maximum.
            duplicate: the probability that a data frame arrives twice.
            reorder: the probability that later data frames overtake a data frame.
        """
        for chance in (loss, duplicate, reorder):
            if not 0 <= chance <= 1:
                raise ValueError(f"a chance is from 0 to 1, not {chance!r}")
        self._wire.faults = Faults(loss, delay, duplicate, reorder)

    def cut(self, one: Node | str, other: Node | str) -> None:
        """Cut the connections between two nodes, until `heal`; frames on their way are lost."""
        self._wire.part(self._name(one), self._name(other))

    def heal(self, one: Node | str, other: Node | str) -> None:
        """Let two nodes connect again."""
        self._wire.rejoin(self._name(one), self._name(other))

    def flicker(self, one: Node | str, other: Node | str) -> None:
        """Cut the connections between two nodes. They may connect again at once."""
        self._wire.cut(self._name(one), self._name(other))

    def refuse(self, node: Node | str) -> None:
        """Cut the connections that others made to a node, and refuse new ones until `accept`.

        It is as if a proxy or a port forward in front of it had ended: the node lives, and connects
        to others. A peer that has not heard of it for 1.5 s takes it for gone.
        """
        self._wire.refuse(self._name(node))

    def accept(self, node: Node | str) -> None:
        """Let others connect to a node again."""
        self._wire.accept(self._name(node))

    # --------------------------------------------------------------------------- time

    @property
    def now(self) -> float:
        """Seconds since the simulation began."""
        return self._schedule.now

    def advance(self, seconds: float) -> None:
        """Let some seconds pass, with all that happens in them."""
        until = self._schedule.now + seconds
        self._schedule.run(lambda: self._schedule.now >= until, seconds)

    def until(self, condition: Callable[[], bool], timeout: float = 120.0) -> None:
        """Let things happen until a condition holds.

        Raises:
            NotReady: it does not hold after ``timeout`` simulated seconds.
        """
        if not self._schedule.run(condition, timeout):
            raise NotReady(f"{condition} does not hold after {timeout:g} simulated seconds")

    def settle(self, timeout: float = 120.0) -> None:
        """Let things happen until all nodes that reach each other are at rest.

        Then they are ready in both directions, and each message was given to the tasks of all nodes
        that were promised it, or was lost. Stopped nodes and pairs that are cut are not waited for.

        Raises:
            NotReady: they are not after ``timeout`` simulated seconds; the text says why.
        """
        # Checked now and then only: it costs more than most of what happens in between.
        until = self._schedule.now + timeout
        while missing := unsettled({n: self._worlds[n].host for n in self.nodes}, self._wire):
            if self._schedule.now >= until:
                raise NotReady(f"not at rest after {timeout:g} s: {'; '.join(missing)}")
            self.advance(0.02)

    # -------------------------------------------------------------------------- the end

    def close(self) -> None:
        """Kill every node that is left."""
        for node in self.nodes:
            self.kill(node)

    def __enter__(self) -> "Network":
        """Return the network, which the end of the block closes."""
        return self

    def __exit__(self, *reason: object) -> None:
        """Kill every node that is left."""
        self.close()

"""iceoryx2: publish and subscribe through shared memory, with an event that wakes the receiver.

Only bytes of known size, its strength: the sender copies them into a loaned sample, the receiver
out of it. What the benchmark says to itself is a list, packed, in a service of its own.
"""

import ctypes
import threading
from typing import Any

from msgpack import packb, unpackb

from .base import Contestant, Ear, Seat, Send

BUFFER = 64
"""Samples under way to a receiver; a publisher that finds no room tries again until there is."""
LARGEST = 1 << 20
SAID = "-said"
"""The end of the name of a service that has what the benchmark says to itself."""


class Iceoryx2(Contestant):
    """A service of bytes and an event for each topic."""

    name = "iceoryx2"
    needs = ("iceoryx2",)
    remedy = "pip install iceoryx2"
    topics = frozenset({"large"})
    measures = frozenset({"flood"})

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        import iceoryx2

        iox: Any = iceoryx2
        iox.set_log_level(iox.LogLevel.Error)
        builder = iox.NodeBuilder.new().signal_handling_mode(iox.SignalHandlingMode.Disabled)
        self._iox = iox
        self._node: Any = builder.create(iox.ServiceType.Ipc)
        self._held: list[Any] = []
        self._publishers: dict[str, Send] = {}
        self._threads: list[threading.Thread] = []
        self._over = False

    def _services(self, topic: str) -> tuple[Any, Any]:
        name = self._iox.ServiceName.new(f"{self.seat.folder.name}/{topic}")
        bytes_of = self._node.service_builder(name).publish_subscribe(
            self._iox.Slice[ctypes.c_uint8]
        )
        service = bytes_of.enable_safe_overflow(False).subscriber_max_buffer_size(BUFFER)
        return service.open_or_create(), self._node.service_builder(name).event().open_or_create()

    def hear(self, ears: dict[str, Ear], below: dict[str, Ear]) -> None:
        """Subscribe, with a thread for each service."""
        for topic, ear in ears.items():
            self._read_on_a_thread(topic, ear.send)
            self._read_on_a_thread(topic + SAID, _unpacking(ear))

    def _read_on_a_thread(self, topic: str, take: Send) -> None:
        service, event = self._services(topic)
        sub = service.subscriber_builder().buffer_size(BUFFER).create()
        listener = event.listener_builder().create()
        self._held += (service, event)
        thread = threading.Thread(target=self._read, args=(sub, listener, take), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _read(self, sub: Any, listener: Any, take: Send) -> None:
        receive, wait, copied = sub.receive, listener.timed_wait, ctypes.string_at
        a_while = self._iox.Duration.from_millis(100)
        while not self._over:
            wait(a_while)
            while (sample := receive()) is not None:
                take(copied(sample.payload_ptr, sample.payload().len()))
                del sample

    def sender(self, topic: str) -> Send:
        """Loan, copy, send and notify."""
        send, say = self._publisher(topic), self._publisher(topic + SAID)

        def sending(msg: Any) -> None:
            if isinstance(msg, bytes):
                send(msg)
            else:
                say(packb(msg))

        return sending

    def _publisher(self, topic: str) -> Send:
        if topic not in self._publishers:
            self._publishers[topic] = self._new_publisher(topic)
        return self._publishers[topic]

    def _new_publisher(self, topic: str) -> Send:
        service, event = self._services(topic)
        publisher = (
            service.publisher_builder()
            .initial_max_slice_len(LARGEST)
            .backpressure_strategy(self._iox.BackpressureStrategy.RetryUntilDelivered)
            .create()
        )
        notifier = event.notifier_builder().create()
        loan, notify, copy = publisher.loan_slice_uninit, notifier.notify, ctypes.memmove

        def send(body: bytes) -> None:
            sample = loan(len(body))
            copy(sample.payload_ptr, body, len(body))
            sample.assume_init().send()
            notify()

        return send

    def close(self) -> None:
        """End the receiving threads, then the node, so that it leaves no files."""
        self._over = True
        for thread in self._threads:
            thread.join(2)
        self._publishers.clear()
        self._held.clear()


def _unpacking(ear: Ear) -> Send:
    return lambda body: ear.send(unpackb(body))

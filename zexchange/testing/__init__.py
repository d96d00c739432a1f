"""Nodes without sockets, threads and waiting, to test programs that use zexchange.

`Network` joins nodes in one process by a simulated wire, which loses, delays, repeats and reorders
frames, or is cut, when a test says so. The test also moves the clock. The fixtures for pytest are
in `zexchange.testing.fixtures`.
"""

from .network import Network

__all__ = ["Network"]

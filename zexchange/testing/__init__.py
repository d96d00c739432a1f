"""What programs that use zexchange are tested with: nodes without sockets, threads and waiting.

`Network` joins nodes in one process by a wire that loses, delays, repeats, reorders and
is cut when a test says so, with a clock that the test moves. The fixtures for pytest are
in `zexchange.testing.fixtures`.
"""

from .network import Network

__all__ = ["Network"]

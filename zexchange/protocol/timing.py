"""Deadlines and bounds that several machines share: sessions, hubs, and the nodes behind hubs."""

TICK_LATE = 1.0
"""Seconds by which a tick may be late before this process is taken to have been stopped."""
KNOCK_EVERY = 0.5
"""Seconds until an endpoint is dialled again that does not know our key: it may soon."""
MAX_TEXT = 300
"""Characters of a reason or a name that is logged or kept of a peer."""
REFUSALS = 8, 1
"""Refusals sent to one connection at once, and a second: an honest node asks once a second."""

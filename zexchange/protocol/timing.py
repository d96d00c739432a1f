"""Deadlines and bounds that several machines share: sessions, hubs, and the nodes behind hubs."""

TICK_LATE = 1.0
"""Seconds by which a tick may be late before this process is taken to have been stopped."""
KNOCK_EVERY = 0.5
"""Seconds until an endpoint is dialled again that does not know our key: it may soon."""
MAX_TEXT = 300
"""Characters of a reason or a name that is logged or kept of a peer."""
REFUSALS = 8, 1
"""Refusals sent to one connection at once, and a second: an honest node asks once a second."""
ENTER_EVERY = 1.0
"""Seconds between two attach messages to a hub, by a node or by another hub."""
REDIAL_AFTER = 3.0
"""Seconds without an answer from a hub, after which it is dialled again."""
TURNED_AWAY_RETRY = 10.0
"""Seconds until a hub that has refused is asked again."""
UNREAD_BYTES = 32 << 20
"""Bytes that may be on their way on a control link with a hub at one end; more is dropped."""

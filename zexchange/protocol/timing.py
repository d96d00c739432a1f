"""Deadlines and bounds that several machines share: sessions, hubs, and the nodes behind hubs."""

TICK_LATE = 1.0
"""Seconds by which a tick may be late before we assume that this process was stopped."""
KNOCK_EVERY = 0.5
"""Seconds until an endpoint that refused our key is dialled again: it may authorize the key
soon."""
MAX_TEXT = 300
"""Characters that are kept or logged of a reason or name that a peer sent."""
REFUSALS = 8, 1
"""Refusals sent to one connection, at once and per second: an honest node asks once a second."""
ENTER_EVERY = 1.0
"""Seconds between two attach messages to a hub, from a node or from another hub."""
REDIAL_AFTER = 3.0
"""Seconds without an answer from a hub after which it is dialled again."""
TURNED_AWAY_RETRY = 10.0
"""Seconds until a hub that has refused us is asked again."""
UNREAD_BYTES = 32 << 20
"""Bytes that may be in flight on a control link with a hub at one end; more are dropped."""

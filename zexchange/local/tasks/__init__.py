"""The package has what may be attached to an exchange: adapters, mailboxes and streams.

A task has a plain ``send``. A task that cannot keep a message drops it by the rule that the user
chose, and counts it. Nothing here knows how an exchange finds its tasks, or that there is a
network.
"""

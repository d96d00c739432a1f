"""The package has what may be attached: adapters, mailboxes, streams, and the loops they serve.

A task has a plain ``send``, and what it cannot keep it drops as told, and counts. Nothing here
knows how an exchange finds its tasks, or that there is a network.
"""

"""The package has the names and patterns that a node wants, and those that its peers know of.

Each state of an interest has an epoch, and a peer answers a state only when it has been proven on
the data path. Nothing here knows how names become subscriptions at a socket, or any message.
"""

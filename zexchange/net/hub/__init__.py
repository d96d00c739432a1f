"""The package is a hub process: it carries many nodes, each of which needs only a few connections.

`protocol.hub` decides; this package has the thread and the sockets, and passes messages of nodes
on without opening them. Nothing here knows exchanges, tasks or the session of a node.
"""

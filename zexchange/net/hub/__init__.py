"""The package is a hub process: it carries many nodes, which then need a few connections only.

`protocol.hub` decides; this package has the thread and the sockets, and passes on what nodes say
without opening it. Nothing here knows exchanges, tasks or the session of a node.
"""

"""The package finds other nodes, and carries control messages between them and this node.

The control thread owns the control sockets. Slow work is done on other threads, which post the
result to it. Nothing here reads a data socket, or knows what a message means to the session.
"""

"""The package finds other nodes, and carries control messages between them and this node.

The control thread owns the control sockets; slow work is done elsewhere and is posted to that
thread. Nothing here reads a data socket, or knows what a message means to the session.
"""

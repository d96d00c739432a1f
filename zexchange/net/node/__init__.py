"""`federate` and `Node` in `zexchange.net.node` are what a program sees of the network.

They check what the program asks for and wait for it, on the caller's thread; the engine does the
work. Nothing here imports zmq, or decides anything of the protocol.
"""

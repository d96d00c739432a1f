"""The package has `federate` and `Node`, the part of the network that a program sees.

They check the program's arguments, and wait on the caller's thread; the engine does the work.
Nothing here imports zmq, or decides anything of the protocol.
"""

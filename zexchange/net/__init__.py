"""ZeroMQ and threads around the protocol: the only package that imports zmq."""

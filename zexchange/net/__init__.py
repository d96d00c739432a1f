"""ZeroMQ and threads around the protocol: the only place that imports zmq."""

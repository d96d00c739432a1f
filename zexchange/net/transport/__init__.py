"""The package has the sockets, threads, endpoints and host names that a node runs on.

The `Environment` makes all clocks, sockets and threads, so that a test can replace them. Nothing
here knows which nodes are peers, what is permitted, or what a frame means.
"""

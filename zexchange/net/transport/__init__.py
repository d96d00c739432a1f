"""Sockets, threads, endpoints and name resolution, with nothing of the protocol."""

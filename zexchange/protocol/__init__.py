"""The protocol as pure state machines: no sockets, no threads, and time is an argument."""

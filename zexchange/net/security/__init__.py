"""The package guards the sockets: it decides by keys who connects and which subscriptions count.

The rules are in `protocol.security`. This package reads the key files, answers libzmq, and closes
connections. Nothing here knows the session, or what a message holds.
"""

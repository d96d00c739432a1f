"""The package takes messages from `send` to the data socket, and keeps those not acknowledged.

Any thread queues a message without waiting for the socket's lock; every call on the socket is made
under that lock. Nothing here knows how messages arrive, or how peers are found.
"""

"""The package takes messages from `send` to the data socket, and keeps what is not acknowledged.

Any thread queues a message without waiting for the socket's lock, and what is done at the socket
is done under that lock. Nothing here knows how messages arrive, or how peers are found.
"""

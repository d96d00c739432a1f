"""The package takes messages from the data sockets to the tasks that are attached here.

The data thread owns these sockets and runs the tasks; other threads give it commands through a
queue. Nothing here decides who is a peer, or knows how messages are sent.
"""

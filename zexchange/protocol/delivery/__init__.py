"""The package puts the messages of a peer in order: each is handed on once, or reported as lost.

Places only go up, and what is missing is asked for again before it is given up. Nothing here
knows sockets, threads or a clock, or what a message holds.
"""

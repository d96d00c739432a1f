"""The package puts the messages of a peer in order: each is handed on once, or reported as lost.

Places only go up, and missing messages are asked for again before they are given up. Nothing here
knows sockets, threads or a clock, or the content of a message.
"""

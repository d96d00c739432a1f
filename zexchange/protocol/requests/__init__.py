"""The package keeps the exchanges on which this node, and each peer, answers questions.

Each node tells its peers the exchanges on which it has responders, first in its hello and then by
changes, which are numbered. Nothing here knows a question, sockets, threads or a clock.
"""

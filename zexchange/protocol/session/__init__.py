"""The session is the node as one machine: messages and time go in, and effects come out.

Every step may come twice or not at all, and the parts share one `SessionState`. Nothing here waits,
reads a clock, or knows sockets and threads.
"""

"""The engine puts the running parts of a node together: sockets, threads and the session.

The control thread alone changes the session, the other threads get their work through queues, and
none of them waits for a caller. Nothing here knows `Node`, `federate`, or the rules of a diagnosis.
"""

"""The engine puts the running parts of a node together: sockets, threads and the session.

Only the control thread changes the session. The other threads get their work through queues, and
none of them waits for a caller. Nothing here knows `Node`, `federate`, or the rules of a diagnosis.
"""

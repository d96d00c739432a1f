"""Groups in a process: its members, and what it sends to groups.

`member` has the tasks of this process that take a share, and `supply` the way by which one gets it.
`share` is what this process sends to one group, and `roster` knows all shares and members.
"""

"""Groups: each message goes to exactly one member, which its sender chooses.

`queue` is the sender's side, `intake` the member's. Both know no threads, no sockets and no clocks.
"""

"""The package judges what the owner of a key may do, and what a connection proves about its user.

It judges texts, keys and names that its caller hands over, and a key file that is wrong raises
`InvalidKeys`. Nothing here opens a file or a connection, or computes with keys.
"""

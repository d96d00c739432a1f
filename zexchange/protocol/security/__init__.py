"""The package decides what the owner of a key may do, and what a connection proves about its user.

Its callers hand it texts, keys and names; text of a file that is wrong raises `InvalidKeys`.
Nothing here opens a file or a connection, or does cryptography.
"""

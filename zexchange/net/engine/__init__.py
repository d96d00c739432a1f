"""The running parts of a node, put together."""

"""The node as one machine."""

"""The package holds hubs as pure machines, on both sides: the hub, and the node that it carries.

Each machine takes messages and time, and returns what its shell has to do. Nothing here knows
sockets or the session of a node, or reads the values in a data frame.
"""

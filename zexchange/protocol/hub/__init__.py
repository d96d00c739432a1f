"""The package has state machines for both sides of a hub link: the hub, and a node that it carries.

Each machine takes messages and time, and returns effects that the calling code carries out.
Nothing here knows sockets or the session of a node, or reads the values in a data frame.
"""

"""The counts that a node tells of its traffic, and the rates that another one makes of them.

Time is an argument.
"""

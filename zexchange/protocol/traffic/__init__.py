"""What flows: the counts that a node tells, and the rates that another one makes of them.

Time is an argument.
"""

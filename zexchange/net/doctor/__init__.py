"""The package finds out for `Node.diagnose` in which state a node is, and what is wrong with it.

It collects facts first and judges them afterwards: `collect` and `reach` make a `Picture`, and
`rules` judges that. Nothing here changes the node, and the rules know neither sockets nor the
engine.
"""

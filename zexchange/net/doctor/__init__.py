"""The package finds out, for `Node.diagnose`, what a node is like and what is wrong with it.

Facts are collected first and judged afterwards: `collect` and `reach` look, `rules` judges a
`Picture`. Nothing here changes the node, and the rules know neither sockets nor the engine.
"""

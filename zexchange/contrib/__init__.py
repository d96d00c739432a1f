"""Adapters for other people's frameworks, each in a module of its framework's name.

A framework is imported by its own adapter and by nothing else; all they share is how a
node is joined (`membership`). They use the promised names, as any program could.
"""

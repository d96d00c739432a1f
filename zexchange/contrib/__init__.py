"""Adapters for frameworks, each in a module with the name of its framework.

Only the adapter of a framework imports it. All adapters join a federation by `membership`. The
backends for broadcaster and Litestar are built on `channels`, and the logging handler on `outbox`
and `records`. Besides the public names of zexchange, these modules use a few internal ones.
"""

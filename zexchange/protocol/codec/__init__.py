"""The codec turns Python values into MessagePack, and bytes that arrive back into values.

Encoding fails with `EncodeError` and decoding with `DecodeError`, and what is received chooses
code to run only through the table of registered types. Nothing here knows frames, exchanges or
peers.
"""

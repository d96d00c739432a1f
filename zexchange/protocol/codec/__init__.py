"""The codec turns Python values into MessagePack, and bytes that arrive back into values.

Encoding fails with `EncodeError`, and decoding with `DecodeError`. Data that is received can run
code only through the table of registered types. Nothing here knows frames, exchanges or peers.
"""

"""The package has the messages of the protocol as frozen values, and turns them to frames and back.

Whatever arrives, the only error is `DecodeError`, and keys that are not known are skipped. Nothing
here knows what a message leads to, or who has sent it.
"""

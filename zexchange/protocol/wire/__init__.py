"""The package has the messages of the protocol as frozen values, and turns them to frames and back.

Reading raises no error but `DecodeError`, for any bytes, and skips keys that it does not know.
Nothing here knows what a message leads to, or who has sent it.
"""

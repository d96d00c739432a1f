"""The targets, one file each: ``MAX_LEN``, ``seeds()`` and ``execute(data)``.

``execute`` may raise nothing, whatever the bytes: what a decoder is documented to raise it
catches, and everything else is a finding. ``seeds`` yields inputs to start from.
"""

"""Fuzz targets: bytes from the network, from files and from the environment, without end.

A target is one file in `targets`; `python -m fuzz` runs them under atheris, and
tests/test_fuzz.py runs each over its corpus and some thousand mutations without it.
"""

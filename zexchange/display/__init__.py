"""The text that commands and pages show: tables of what flows, diagnoses, and messages as text.

Everything here is pure. Text of peers is hostile until `text.printable` has been over it.
"""

"""The options of a command in place of the arguments of `federate`, in the texts of errors."""

import re

_FLAGS = {
    r"insecure=True": "--insecure",
    r"\bkeys=": "--keys DIR",
    r"\b(listen|advertise|hub)=": r"--\1",
    r"\bpeers=": "--peer",
}


def as_flags(text: str) -> str:
    """Return the text of an error of `federate` with its arguments replaced by options."""
    for argument, flag in _FLAGS.items():
        text = re.sub(argument, flag, text)
    return text

"""Which classes can be sent, and what a class is called.

Sent can be those that the codec has a form for, and registered ones. The codec fills the set, and
a type that is said for an exchange is looked up in it: so that what can never leave is refused
there, and not once a second process runs.
"""

sendable: set[type] = set()
"""The classes, each without its subclasses."""


def is_sendable(kind: type) -> bool:
    """Return whether a value that is an instance of a class can be one that is sent."""
    if kind in sendable or kind.__module__.partition(".")[0] == "numpy":
        return True
    try:
        return any(issubclass(known, kind) for known in tuple(sendable))  # of an abstract one
    except TypeError:  # of a TypedDict, for instance: it says nothing of any class
        return False


def full_name(type: type) -> str:
    """Return the module and qualified name; the name alone for a built-in."""
    if type.__module__ == "builtins":
        return type.__qualname__
    return f"{type.__module__}.{type.__qualname__}"

"""Which classes can be sent to other processes, and the full names of classes.

These are the classes that the codec can encode, and those that a program registers. The codec
fills the set. When a type is declared for an exchange, it is checked against the set, so that a
type which can never be sent fails at once, and not only when a second process runs.
"""

sendable: set[type] = set()
"""Classes whose instances can be sent; this does not extend to their subclasses."""


def is_sendable(kind: type) -> bool:
    """Return whether instances of a class, or of one of its subclasses, can be sent."""
    if kind in sendable or kind.__module__.partition(".")[0] == "numpy":
        return True
    try:
        return any(issubclass(known, kind) for known in tuple(sendable))  # for abstract classes
    except TypeError:  # for a TypedDict, for instance, which does not support `issubclass`
        return False


def full_name(type: type) -> str:
    """Return the module and the qualified name of a class; for a built-in only the name."""
    if type.__module__ == "builtins":
        return type.__qualname__
    return f"{type.__module__}.{type.__qualname__}"

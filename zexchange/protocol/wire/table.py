"""Messages to frames and back, by a table of the fields that each kind of message has.

A frame is one byte for its type, and a list of kind, sender and body. Keys that are not in the
table are skipped, so that later versions may add some. A field that is missing or of a wrong type
raises `DecodeError`, and no other error is raised here.
"""

from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import msgpack

from ...errors import DecodeError
from ...kinds import is_dict, is_list
from .fields import node_id, unpack

M = TypeVar("M")

REQUIRED: Any = object()
"""A default for `Field`: a message without the field is refused."""
WRITTEN: Any = object()
"""A default for `Field`: it is always written, but may be missing in a message that is read."""


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        read: checks the value that has arrived, and returns it as the message has it.
        default: the value that is left out on the wire; or `REQUIRED`, or `WRITTEN`. A field that
            is missing gets the default of the message's class.
        write: returns the value to pack; None if it is packed as it is.
    """

    read: Callable[[Any], Any]
    default: Any = REQUIRED
    write: Callable[[Any], Any] | None = None


class Kind:
    """A kind of message: its class, and its fields in the order in which they are written.

    Args:
        of: the class.
        around: the kind of message that this one contains, in the attribute of that name. Both have
            one sender, and their fields share one body, those of the inner one first.
        fields: by name, which is the same in the class and on the wire; for a required field, its
            reader alone.
    """

    def __init__(self, of: type, around: str = "", **fields: Field | Callable[[Any], Any]) -> None:
        self.of, self.around = of, around
        self.fields = {
            name: field if isinstance(field, Field) else Field(field)
            for name, field in fields.items()
        }


class MessageTable(Generic[M]):
    """The kinds of message that a frame with a given first byte may hold.

    Args:
        first: that byte.
        what: the name of such a message in errors.
        kinds: by their names on the wire.
    """

    def __init__(self, first: bytes, what: str, kinds: Mapping[str, Kind]) -> None:
        self.kinds = kinds
        self._first, self._what = first, what
        self._names = {kind.of: name for name, kind in kinds.items()}

    def frame(self, message: M) -> bytes:
        """Return the frame of a message."""
        name = self._names[type(message)]
        said: Any = message
        packed: bytes = msgpack.packb([name, said.sender, self._written(name, said)])
        return self._first + packed

    def _written(self, name: str, message: Any) -> dict[str, Any]:
        kind = self.kinds[name]
        body = self._written(kind.around, getattr(message, kind.around)) if kind.around else {}
        for key, (_, default, write) in kind.fields.items():
            value = getattr(message, key)
            if value != default:
                body[key] = value if write is None else write(value)
        return body

    def read(self, frame: bytes) -> M:
        """Return the message in a frame; keys that are not known here are skipped.

        Raises:
            DecodeError: if it is malformed, or of a kind that is not known here.
        """
        if frame[:1] != self._first:
            raise DecodeError(f"not a {self._what}")
        parts = unpack(frame[1:])
        if not (is_list(parts) and len(parts) >= 3 and is_dict(parts[2])):
            raise DecodeError(f"a {self._what} is a list of kind, sender and body")
        kind, sender, body = parts[:3]
        if not isinstance(kind, str) or kind not in self.kinds:
            shown = kind[:40] if isinstance(kind, str) else type(kind).__name__
            raise DecodeError(f"{self._what} of unknown kind {shown!r}")
        message: M = self._read(kind, node_id(sender), body)
        return message

    def _read(self, name: str, sender: bytes, body: dict[Any, Any]) -> Any:
        kind = self.kinds[name]
        found = {kind.around: self._read(kind.around, sender, body)} if kind.around else {}
        for key, (read, default, _) in kind.fields.items():
            if key in body:
                found[key] = read(body[key])
            elif default is REQUIRED:
                raise DecodeError(f"{self._what} without {key!r}")
        return kind.of(sender=sender, **found)

"""Messages that have arrived, as the command line shows them (`display.text`)."""

import json
import unicodedata
from collections.abc import Iterator

from zexchange import Delivery
from zexchange.display import text
from zexchange.errors import DecodeError
from zexchange.protocol.codec.values import decode, encode

from ..bounds import require
from ..seeds import bombs, vectors

MAX_LEN = 400
_KEPT = "\t\n"
_UNSAFE = {"Cc", "Cs", "Zl", "Zp"}
"""Categories of characters that a terminal may obey, or that end a line."""


def seeds() -> Iterator[bytes]:
    """Yield values of every type, text that a terminal would obey, and bombs."""
    yield from (frame for frame, _ in vectors("value"))
    for shown in ("\x1b]0;x\x07", "a\rb", "\u202eabc", "a\x9b31m", "\u2028"):
        yield encode(shown)
        yield encode({shown: [shown]})
    yield from bombs()


def execute(data: bytes) -> None:
    """Show it in every form: one line, as JSON that can be read, and safe on a terminal."""
    try:
        value = decode(data)
    except DecodeError:
        return
    delivery = Delivery("a.b\x1b", value, None, None, 0.0)
    for show in (text.as_json, text.named_json):
        line = show(delivery)
        require(line.endswith(b"\n") and line.count(b"\n") == 1, line)
        json.loads(line)
    for show in (text.as_text, text.named_text, text.as_json):
        seen = text.on_terminal(show)(delivery)[:-1].decode()
        unsafe = [c for c in seen if unicodedata.category(c) in _UNSAFE and c not in _KEPT]
        require(not unsafe and "\u202e" not in seen, seen)

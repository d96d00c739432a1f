"""What both kinds of bridges do with a message that is large, or cannot be encoded."""

from ...errors import EncodeError
from ...history import Body
from ...protocol.codec.attachments import Encoder
from ...protocol.codec.values import explained_error
from ...protocol.wire.data import MAX_BODY_BYTES


def large_body(encoder: Encoder, msg: object, body: Body) -> Body:
    """Return a message that has turned out large, in the form in which it travels.

    Raises:
        EncodeError: it is too large for that.
    """
    body = encoder.large(msg, body)
    if len(body) > MAX_BODY_BYTES:
        limit = MAX_BODY_BYTES >> 20
        raise EncodeError(f"msg: {len(body)} bytes encoded, over {limit} MiB")
    return body


def named_error(name: str, msg: object, error: Exception) -> EncodeError | None:
    """Return an error that says what cannot be encoded, and names the exchange, too.

    None if nothing is wrong with the message: then a signal handler has raised.
    """
    found = explained_error(msg, error)
    if found is None and not isinstance(error, EncodeError):
        return None
    return EncodeError(f"exchange {name!r}: {found or error}")

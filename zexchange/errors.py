"""The exceptions that zexchange defines.

All of them derive from `ExchangeError`. Each one but `Closed` also derives from an exception of
the standard library that a caller would expect, so code that handles that one works with it:

    ExchangeError
    ├── InvalidName        (ValueError)    not a name, or a pattern where a name belongs
    ├── NotASubscriber     (TypeError)     a task that cannot be given messages
    ├── NotAttached        (KeyError)      detaching a task that is not attached
    ├── TaskFailed         (RuntimeError)  a task raised a non-Exception such as CancelledError
    ├── TooManyDeferred    (RecursionError)  tasks that send on their own exchange without end
    ├── LimitReached       (RuntimeError)  more of something than a node can have
    ├── EncodeError        (TypeError)     a message that cannot be sent to another process
    ├── WrongType          (TypeError, ValueError)  a message that is not of its exchange's type
    ├── DecodeError        (ValueError)    bytes that are malformed, or of an unknown version
    ├── NotReady           (TimeoutError)  a wait reached its timeout
    ├── NoResponders       (RuntimeError)  a request on an exchange that nobody answers
    ├── ResponderLost      (RuntimeError)  the responder has gone before it answered
    ├── RequestFailed      (RuntimeError)  the responder raised an exception
    ├── RequestTimeout     (TimeoutError)  no answer to a request in time
    ├── MailboxFull        (queue.Full)    no room in a mailbox with overflow="error"
    ├── InsecureEndpoint   (ValueError)    a reachable TCP endpoint without keys
    ├── InvalidKeys        (ValueError)    a key directory, or a file in it, that cannot be used
    ├── Unreachable        (OSError)       an endpoint or directory that cannot be used
    ├── TooFewDescriptors  (OSError)       the process may not open enough files
    └── Closed                             use of a node or stream after close()
"""

import queue


class ExchangeError(Exception):
    """The base class of the exceptions that zexchange defines."""


class InvalidName(ExchangeError, ValueError):
    """A string that is not a valid name of an exchange, or not a valid pattern."""


class NotASubscriber(ExchangeError, TypeError):
    """An object that cannot be attached as a task; the text names the adapter to use."""


class NotAttached(ExchangeError, KeyError):
    """The task to detach is not attached."""

    def __str__(self) -> str:
        return Exception.__str__(self)  # `KeyError` would show the repr of the text


class TaskFailed(ExchangeError, RuntimeError):
    """A task raised an exception that is no `Exception`, such as `asyncio.CancelledError`.

    The original exception is the ``__cause__``. Raised directly, it could cancel or end the
    coroutine or generator that called `send`.
    """


class TooManyDeferred(ExchangeError, RecursionError):
    """Too many messages wait for the end of a delivery: tasks sent them on their own exchange.

    It is also raised to a finaliser that sends while too many messages of finalisers wait.
    """


class LimitReached(ExchangeError, RuntimeError):
    """More of something than a node can have; the text has the number and the limit."""


class EncodeError(ExchangeError, TypeError):
    """A message that cannot be encoded; the text names the path to the part at fault."""


class WrongType(ExchangeError, TypeError, ValueError):
    """A message that is not of its exchange's type; the text says which part does not fit."""


class DecodeError(ExchangeError, ValueError):
    """Bytes that are malformed, too large, or of a protocol version that is not supported."""


class NotReady(ExchangeError, TimeoutError):
    """A wait reached its timeout; the text says what is missing and which peers are silent."""


class NoResponders(ExchangeError, RuntimeError):
    """A request on an exchange on which no responder is there, neither here nor at a ready peer."""


class ResponderLost(ExchangeError, RuntimeError):
    """The responder of a request has left or died before it answered; the work may be done."""


class RequestFailed(ExchangeError, RuntimeError):
    """The responder of a request raised an exception.

    In the process of the responder, that exception is the ``__cause__``.

    Attributes:
        error: the name of its type.
        reason: its text.
    """

    def __init__(self, error: str, reason: str) -> None:
        super().__init__(error, reason)
        self.error, self.reason = error, reason

    def __str__(self) -> str:
        return f"{self.error}: {self.reason}" if self.reason else self.error


class RequestTimeout(ExchangeError, TimeoutError):
    """A request was not answered in time. A later answer is dropped, and counted."""


class MailboxFull(ExchangeError, queue.Full):
    """A bounded mailbox with ``overflow="error"`` had no room for a message."""


class InsecureEndpoint(ExchangeError, ValueError):
    """A TCP endpoint that other hosts could reach was requested without keys."""


class InvalidKeys(ExchangeError, ValueError):
    """A key directory, or a file in it, that cannot be used; the text names the file."""


class Unreachable(ExchangeError, OSError):
    """An endpoint or a directory that cannot be used: taken, owned by another user, or unwritable.

    `federate` also raises it on Windows, and for ``peers=["lan"]`` without the library zeroconf.
    """


class TooFewDescriptors(ExchangeError, OSError):
    """The process may not open enough files and sockets; ``errno`` is EMFILE."""


class Closed(ExchangeError):
    """A node or a stream was used after it was closed."""

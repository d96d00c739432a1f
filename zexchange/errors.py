"""Every error that zexchange raises on purpose.

One root, few leaves; each leaf also derives from the built-in that a caller
would expect, so that code written for the plain recipe keeps working. The tree:

    ExchangeError
    ├── InvalidName        (ValueError)    not a name, or a pattern where a name belongs
    ├── NotASubscriber     (TypeError)     a task that cannot be given messages
    ├── NotAttached        (KeyError)      detach of a task that is not attached
    ├── TaskFailed         (RuntimeError)  a task raised what is no Exception, as CancelledError
    ├── TooManyDeferred    (RecursionError)  tasks that send on their own exchange without end
    ├── LimitReached       (RuntimeError)  more than a node can have; the text has both numbers
    ├── EncodeError        (TypeError)     a message that cannot cross a process boundary
    ├── WrongType          (TypeError, ValueError)  a message that is not of its exchange's type
    ├── DecodeError        (ValueError)    bytes that are not ours, or not of this version
    ├── NotReady           (TimeoutError)  a wait reached its timeout
    ├── MailboxFull        (queue.Full)    a bounded mailbox with overflow="error"
    ├── InsecureEndpoint   (ValueError)    a reachable TCP endpoint without keys
    ├── InvalidKeys        (ValueError)    a key directory, or a file in it, that cannot be used
    ├── Unreachable        (OSError)       an endpoint or directory that cannot be used
    ├── TooFewDescriptors  (OSError)       the process may not open as many files as this takes
    └── Closed                             use of a node or stream after close()
"""

import queue


class ExchangeError(Exception):
    """The root of every error that zexchange raises on purpose."""


class InvalidName(ExchangeError, ValueError):
    """A string that cannot name an exchange, or cannot be a pattern."""


class NotASubscriber(ExchangeError, TypeError):
    """A task that cannot be given messages; the text names the adapter to use."""


class NotAttached(ExchangeError, KeyError):
    """A task was detached that is not attached."""

    def __str__(self) -> str:
        """Return the plain sentence: `KeyError` would show its repr."""
        return Exception.__str__(self)


class TaskFailed(ExchangeError, RuntimeError):
    """A task raised something that is no `Exception`, such as `asyncio.CancelledError`.

    That is its cause. As itself it would cancel, or end, the coroutine or generator that sends.
    """


class TooManyDeferred(ExchangeError, RecursionError):
    """Tasks have sent more messages on their own exchange than may wait for the end of a round."""


class LimitReached(ExchangeError, RuntimeError):
    """A node has as many of something as it can have; the text says of what, and how many."""


class EncodeError(ExchangeError, TypeError):
    """A message that cannot be encoded; the text names the path inside it."""


class WrongType(ExchangeError, TypeError, ValueError):
    """A message that is not of the type of its exchange; the text says which part is not."""


class DecodeError(ExchangeError, ValueError):
    """Bytes that are malformed, too large, or of a version not spoken here."""


class NotReady(ExchangeError, TimeoutError):
    """A wait reached its timeout; the text says what is missing and who is silent."""


class MailboxFull(ExchangeError, queue.Full):
    """A bounded mailbox with ``overflow="error"`` had no room for a message."""


class InsecureEndpoint(ExchangeError, ValueError):
    """A TCP endpoint that other hosts could reach was asked for without keys."""


class InvalidKeys(ExchangeError, ValueError):
    """A key directory, or a file in it, that cannot be used; the text names the file."""


class Unreachable(ExchangeError, OSError):
    """An endpoint or a directory that cannot be used: taken, foreign, or unwritable."""


class TooFewDescriptors(ExchangeError, OSError):
    """The process may not open as many files and sockets as this takes; ``errno`` is EMFILE."""


class Closed(ExchangeError):
    """A node or a stream was used after it was closed."""

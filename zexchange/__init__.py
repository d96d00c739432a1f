"""Named exchanges for threads, with remote reach."""

__version__ = "0.1.0"

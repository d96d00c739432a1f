"""`zexchange metrics`: serve what flows in a whole federation to Prometheus."""

from .command import metrics

__all__ = ["metrics"]

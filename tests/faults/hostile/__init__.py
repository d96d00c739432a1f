"""A hostile peer at full speed: what it does, whom it does it to, and what that may cost."""

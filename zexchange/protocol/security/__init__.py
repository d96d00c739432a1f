"""Keys, permissions, and what a connection proves."""

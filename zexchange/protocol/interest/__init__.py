"""Which names and patterns a node wants."""

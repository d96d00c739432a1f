"""A soak: everything at once, from a seed, for minutes; and every account adds up."""

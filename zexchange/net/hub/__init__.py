"""A hub process."""

"""Hubs as machines, on both sides."""

"""The way of a message from a data socket to the tasks."""

"""The way of a message from `send` to the data socket."""

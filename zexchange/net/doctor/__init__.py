"""What a node is like, and what is wrong with it."""

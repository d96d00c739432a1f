"""The messages that an exchange keeps for late joiners, and how new those are that were given."""

"""Keys at the sockets: who comes in, and which subscriptions count."""

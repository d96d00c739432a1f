"""What may be attached: adapters, mailboxes, streams and the event loops that they serve."""

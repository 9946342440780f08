"""Messages out: queued in the transaction, handed to notifiers after it."""

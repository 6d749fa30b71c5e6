"""The deployed methods without Modal."""

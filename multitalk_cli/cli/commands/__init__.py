"""One module a command: it declares its options, delegates, and reports."""

"""Results as lines for a person and as JSON: one module a command."""

"""Commands that help with errors, by what these are about."""

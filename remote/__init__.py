"""The GPU side: the engine, the service around it, and its deployment."""

DISTRIBUTION = "multitalk-cli"
"""Whose package this is: others may be called remote, too."""

"""The protocol of running work, and facts as words."""

"""Completion: scripts for shells, made from the command line's own tree."""

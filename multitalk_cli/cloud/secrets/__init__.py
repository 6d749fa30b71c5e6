"""Secrets of the Modal account: sources, checks, storage."""

"""Voices and sound tracks."""

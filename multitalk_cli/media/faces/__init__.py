"""Faces and speakers in a picture."""

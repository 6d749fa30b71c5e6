"""Backends: each turns a request into events and an MP4 at the target path."""

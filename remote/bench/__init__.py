"""Benchmarks of the engine and of its start: python -m remote.bench."""

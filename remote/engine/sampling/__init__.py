"""Sampling: schedule, guidance, caching, masks, colour, guards."""

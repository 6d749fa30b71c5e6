"""Many videos: a manifest, its rows, their price, the run, and a report."""

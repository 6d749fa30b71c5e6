"""A small app of the shape of ours: it proves the control plane before our own app runs on it."""

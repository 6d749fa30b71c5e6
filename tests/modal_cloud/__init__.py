"""A local Modal control plane: the real client and the real container runtime talk to it."""

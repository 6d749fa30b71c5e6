"""What runs on the GPU: the engine, the service around it, and its deployment."""

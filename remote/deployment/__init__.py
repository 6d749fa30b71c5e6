"""The image, its pins, and the options of a deployment."""

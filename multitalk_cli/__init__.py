"""The `multitalk` command: a picture and a voice in, a talking video out."""

__version__ = "0.1.0"

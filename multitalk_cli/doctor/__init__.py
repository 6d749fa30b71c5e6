"""The checks of `multitalk doctor`."""

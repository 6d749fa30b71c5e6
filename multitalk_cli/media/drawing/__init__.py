"""Pictures that are drawn: mouths, strips, plan sheets."""

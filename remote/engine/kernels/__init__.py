"""Attention and fused kernels, and how they are chosen."""

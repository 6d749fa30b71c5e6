"""Recipes: read from videos, verified, made again."""

"""Restyle images by a style picture."""

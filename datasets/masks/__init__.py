"""Masks for inpainting: draw them, read them from files, and pair them with images."""

"""Inpainting networks, and the parts that only they have."""

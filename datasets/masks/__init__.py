"""Masks of inpainting: drawn, read from files, matched to images."""

"""Generators for super-resolution, one file per family."""

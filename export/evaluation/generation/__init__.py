"""Evaluate generators of noise → image: draw samples, and compare them with real images as sets."""

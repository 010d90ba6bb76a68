"""Models that run one after the other on an image. Imports no torch."""

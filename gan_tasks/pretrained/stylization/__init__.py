"""Converters of public checkpoints of stylization."""

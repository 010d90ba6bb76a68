"""Public checkpoints of super-resolution, one file per family."""

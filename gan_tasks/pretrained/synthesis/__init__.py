"""Public checkpoints of synthesis networks, one file per family."""

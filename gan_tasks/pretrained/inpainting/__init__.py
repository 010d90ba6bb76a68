"""Public checkpoints of inpainting, one file per family."""

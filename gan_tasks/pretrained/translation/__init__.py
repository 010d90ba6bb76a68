"""Public checkpoints of image translation, one file per family."""

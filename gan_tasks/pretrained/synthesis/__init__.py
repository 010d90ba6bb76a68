"""Public checkpoints of generators from noise and their discriminators, one file a family."""

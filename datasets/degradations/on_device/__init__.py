"""The same degradations on batches of tensors, for the GPU."""

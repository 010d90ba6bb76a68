"""The same degradations computed on batches of tensors, on the CPU or a GPU."""

"""Load samples: their order in an epoch, and the batches that worker processes make."""

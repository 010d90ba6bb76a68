"""Check files and samples before a training."""

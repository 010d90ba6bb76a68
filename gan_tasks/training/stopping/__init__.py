"""What stops a training: signals, errors, and another process on the same run."""

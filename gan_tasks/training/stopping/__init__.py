"""What stops a training, and how it goes on: signals, errors, another process on the run, resuming."""

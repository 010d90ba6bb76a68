"""Run a model on files: read, run, mark, write."""

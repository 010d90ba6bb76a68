"""Running a model over files: read, run, mark, write."""

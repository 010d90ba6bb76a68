"""Running a model over videos."""

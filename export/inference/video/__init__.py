"""Run a model on videos."""

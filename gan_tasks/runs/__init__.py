"""The run folder: checkpoints, journal, report and model card of a training."""

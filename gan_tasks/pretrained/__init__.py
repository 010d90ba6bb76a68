"""The field's public checkpoints as networks of ours. `load.py` opens a file; each family is one file."""

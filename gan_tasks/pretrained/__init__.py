"""Public checkpoints, loaded into our networks. `load.py` opens a file; each family has a module of its own."""

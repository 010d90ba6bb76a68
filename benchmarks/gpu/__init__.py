"""What `benchmarks/gpu.sh` runs: `measure.py` starts the parts one after another, and `part.py` is one of them."""

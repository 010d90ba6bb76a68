#!/bin/bash
# Measure everything on a GPU in at most eight minutes: see benchmarks/gpu/measure.py, or give --help.
cd "$(dirname "$0")/.." || exit
for folder in apps datasets export; do  # some ways to copy a repository lose its links
    [ -e "gan_tasks/$folder" ] || ln -s "../$folder" "gan_tasks/$folder"
done
export PYTHONPATH="$PWD:$PWD/benchmarks${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" -m gpu.measure "$@"

#!/bin/bash
# Measure everything on a GPU in at most eight minutes: see benchmarks/gpu/measure.py, or give --help.
root=$(cd "$(dirname "$0")/.." && pwd) || exit
for folder in apps datasets export; do  # some ways to copy a repository lose its links
    [ -e "$root/gan_tasks/$folder" ] || ln -s "../$folder" "$root/gan_tasks/$folder"
done
export PYTHONPATH="$root:$root/benchmarks${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" -m gpu.measure "$@"

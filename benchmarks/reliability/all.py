"""Run a part of each trial of this folder, one after another, and print the tables of their results.

    python benchmarks/reliability/all.py [--scale 1] [--only images] [--logs FOLDER]

With `--scale 8` the trials that have a length take eight times as long; `run_folders.py` and `kills.py` try each
kind once, whatever their length. `--every N` always takes the same files. Printed are the command of each trial, how
long it took, and the last table that it printed. The exit code is 1 if a trial found something wrong.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
TRIALS = (
    "images.py --seconds {40}",
    "videos.py --seconds {30}",
    "hostile_weights.py --every 10",
    "weights_files.py --seconds {30}",
    "onnx_attacks.py --every 4",
    "onnx_files.py --seconds {30}",
    "command_line.py --commands {100}",
    "run_folders.py --seconds {60}",
    "kills.py --seconds {60}",
    "clients.py --seconds {20}",
)
"""In braces are what `--scale` multiplies."""


def scaled(trial: str, scale: float) -> list[str]:
    """Return the words of a trial's command."""
    before, _, rest = trial.partition("{")
    if not rest:
        return shlex.split(trial)
    number, _, after = rest.partition("}")
    return shlex.split(f"{before}{round(float(number) * scale)}{after}")


def last_table(text: str) -> list[str]:
    """Return the lines of the last table in Markdown."""
    table: list[str] = []
    for line in reversed(text.splitlines()):
        if line.startswith("|"):
            table.append(line)
        elif table:
            break
    return table[::-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1, help="a factor on the length of the trials")
    parser.add_argument("--only", default="", help="only the trials with this in their name")
    parser.add_argument("--logs", type=Path, help="a folder for what the trials print")
    options = parser.parse_args()
    wrong = []
    with TemporaryDirectory() as folder:
        logs = options.logs or Path(folder)
        logs.mkdir(parents=True, exist_ok=True)
        for trial in (trial for trial in TRIALS if options.only in trial):
            words = scaled(trial, options.scale)
            log = logs / f"{Path(words[0]).stem}.log"
            start = time.monotonic()
            with log.open("w") as file:
                code = subprocess.run(
                    [sys.executable, str(HERE / words[0]), *words[1:]], stdout=file, stderr=subprocess.STDOUT
                ).returncode
            text = log.read_text(errors="replace")
            verdict = "right" if code == 0 else f"WRONG, exit code {code}"
            print(f"`{shlex.join(words)}`: {verdict}, {time.monotonic() - start:.0f} s\n", flush=True)
            print("\n".join(last_table(text) if code == 0 else text.splitlines()[-60:]) + "\n", flush=True)
            wrong += [words[0]] if code else []
    print(f"{len(wrong)} trials found something wrong{': ' if wrong else ''}{', '.join(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

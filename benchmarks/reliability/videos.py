"""Apply a model to hostile and damaged videos, and list those that crash, never end, or take too much memory.

    python benchmarks/reliability/videos.py [--seconds 30] [--seed 0] [--only NAME] [--limit-seconds 20] [--peak-gb 1]

First come videos that are made to cost much, or to make FFmpeg open other files. Then good videos of many containers
get random bytes, cuts and repetitions until the time is over. Each is given to `gan-tasks apply` with a tiny model,
in a process of its own. Right is an exit code of 0 to 2 without a traceback, within the time and the memory, and for
playlists a refusal.
"""

from __future__ import annotations

import argparse
import os
import random
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from command_line import prepare, run_apart
from hostile_videos import HOSTILE, PLAYLISTS, make_seeds
from mutated_files import add_options, changed_bytes, try_files

from gan_tasks.export.formats.basicsr import to_basicsr
from gan_tasks.networks.super_resolution.convolutional import srvgg

SUFFIXES = ("mp4", "mkv", "webm", "mov")


def tried(name: str, make: Callable[[Path], Path], model: Path, suffix: str, limits: argparse.Namespace) -> bool:
    """Make a hostile video, apply the model, print a row. Returns whether it went right."""
    with TemporaryDirectory() as place:
        path = make(Path(place))
        command = f"apply {model} {path} {Path(place, 'out')}.{suffix} --provider cpu"
        ended = run_apart(shlex.split(command), seconds=limits.limit_seconds, memory_bytes=int(limits.limit_gb * 1e9))
        is_right = ended.is_right() and ended.peak_bytes <= limits.peak_gb * 1e9
        if name in PLAYLISTS:
            is_right = is_right and ended.code == 2
        answer = ended.error or f"exit code {ended.code}"
        print(
            f"| {name} | {path.stat().st_size:,} | {suffix} | {'' if is_right else '**WRONG** '}{answer} | "
            f"{ended.seconds:.1f} | {ended.peak_bytes / 1e6:,.0f} MB |",
            flush=True,
        )
    return is_right


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--only", default="", help="hostile videos whose name contains this")
    options = parser.parse_args()
    with TemporaryDirectory() as place:
        model, seeds = Path(place, "model.onnx"), Path(place, "seeds")
        torch.save(to_basicsr(srvgg(3, 3, scale=2, width=4, convs=1)), model.with_suffix(".pth"))
        prepare(f"export {model.with_suffix('.pth')} {model}")
        print("| Video | Bytes | Result | Answer | Seconds | Peak |\n|---|---|---|---|---|---|")
        rng = random.Random(options.seed)
        right = [
            tried(name, make, model, rng.choice(SUFFIXES), options)
            for name, make in (PLAYLISTS | HOSTILE).items()
            if options.only in name
        ]
        print(f"\n{len(right)} hostile videos, {right.count(False)} wrong\n")
        seeds.mkdir()
        make_seeds(seeds)
        prepare(f"apply {model} {seeds} {Path(place, 'out')} --provider cpu", seconds=300)  # all of them are good
        commands = [f"apply {model} {{file}} {{out}}.{suffix} --provider cpu" for suffix in SUFFIXES]
        failed = try_files(sorted(seeds.iterdir()), [changed_bytes], commands, options)
    return 1 if failed or not all(right) else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a forked process has no threads of its parent
    torch.set_num_threads(1)
    sys.exit(main())

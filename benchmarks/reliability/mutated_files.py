"""Change files at random, run a command on each in a process of its own, and count what goes wrong.

`onnx_files.py`, `weights_files.py` and `videos.py` use it.
"""

from __future__ import annotations

import argparse
import random
import shlex
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from command_line import Outcome, run_apart

Mutate = Callable[[bytes, random.Random], bytes]
"""Returns changed bytes of a file."""
EXTREME = (0, 1, 0x7F, 0x80, 0xFF)


def changed_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flip, overwrite, cut, repeat or insert bytes at one to four places."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(max(1, len(changed)))
        length = min(len(changed) - at, rng.choice((1, 2, 4, 8, 64)))
        match rng.randrange(6):
            case 0 if changed:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at : at + length] = bytes(rng.choice(EXTREME) for _ in range(length))
            case 2:
                changed[at : at + length] = rng.randbytes(length)
            case 3:
                del changed[at : at + length]
            case 4:
                changed[at:at] = changed[at : at + length] * rng.choice((1, 2, 100))
            case 5 if rng.random() < 0.2:
                del changed[at:]
    return bytes(changed)


def parsed(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    return parser.parse_args()


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=30, help="how long files are tried")
    parser.add_argument("--seed", type=int, default=0, help="another seed changes the files otherwise")
    parser.add_argument("--limit-seconds", type=float, default=20, help="a command that takes longer never ends")
    parser.add_argument("--limit-gb", type=float, default=8, help="the largest address space of a command")
    parser.add_argument("--peak-gb", type=float, default=1, help="a command that uses more memory is wrong")
    parser.add_argument("--keep", type=Path, help="the folder for the files that went wrong")


def try_files(
    seeds: Sequence[Path], mutations: Sequence[Mutate], commands: Sequence[str], options: argparse.Namespace
) -> int:
    """Change the files and run the commands on them until the time is over; print a table. Returns the exit code.

    commands: with `{file}` for the changed file and `{out}` for a folder. A file of the same stem beside a seed, such
    as the .bin of a .param, is copied along.
    """
    rng = random.Random(options.seed)
    outcomes: list[Outcome] = []
    wrong = 0
    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        with TemporaryDirectory() as place:
            seed = rng.choice(seeds)
            for beside in seed.parent.glob(f"{seed.stem}.*"):
                Path(place, beside.name).write_bytes(beside.read_bytes())
            file = Path(place, seed.name)
            file.write_bytes(rng.choice(mutations)(seed.read_bytes(), rng))
            command = rng.choice(commands).format(file=file, out=Path(place, "out"))
            ended = run_apart(
                shlex.split(command), seconds=options.limit_seconds, memory_bytes=int(options.limit_gb * 1e9)
            )
            outcomes.append(ended)
            if not ended.is_right() or ended.peak_bytes > options.peak_gb * 1e9:
                wrong += 1
                reason = ended.error or f"exit code {ended.code}"
                print(f"{reason}, {ended.seconds:.0f} s, {ended.peak_bytes / 1e9:.1f} GB: {command}", flush=True)
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    (options.keep / f"{wrong}-{seed.name}").write_bytes(file.read_bytes())
    codes = Counter(ended.code for ended in outcomes)
    print("\n| Files | Exit code 0 | 1 | 2 | Wrong | Slowest | Largest |\n|---|---|---|---|---|---|---|")
    print(
        f"| {len(outcomes)} | {codes[0]} | {codes[1]} | {codes[2]} | {wrong} | "
        f"{max(ended.seconds for ended in outcomes):.1f} s | {max(e.peak_bytes for e in outcomes) / 1e9:.2f} GB |"
    )
    return 1 if wrong else 0

"""Train several recipes on the same images for the same time, and compare them on the held-out images.

    python benchmarks/recipes.py facades --data FOLDER --minutes 30 --seeds 0 1 2 --out runs/facades
    python benchmarks/recipes.py unpaired --data FOLDER --minutes 30 --out runs/seasons -- --width 32 --d-width 32

A recipe is a task with a preset. Each is first trained for a minute to see how many images it takes in a second; from
that follows the number of epochs for `--minutes`, half of them at a falling learning rate. The script can be stopped
at any time by Ctrl-C or SIGTERM: the training saves a checkpoint, and the same command continues it. What follows
`--` goes to every training, and `--task-options "pix2pix --generator unet-128"` goes to those of one task.

At the end, each network of --features compares the recipes that were not trained with it: the mean and the range over
the seeds of the kernel distance ×10³, and of L1 if there are pairs. `results.json` in --out has all figures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan_tasks.datasets.images import IMAGE_SUFFIXES

CALIBRATION_S = 60
PROGRAM = (sys.executable, "-m", "gan_tasks.apps.cli.main")
STOPPED = 128 + signal.SIGTERM
"""The exit code of a training that was stopped, and saved a checkpoint."""
WORK = {
    "facades": ("pix2pix", ("paper", "modern", "projected")),
    "unpaired": ("cyclegan", ("paper", "modern", "projected")),
}
"""The task of each kind of data, with the presets that are compared."""
CUT = ("cut", "paper")


@dataclass(frozen=True)
class Recipe:
    """A task and its preset."""

    task: str
    preset: str

    @property
    def name(self) -> str:
        return f"{self.task}-{self.preset}"


def recipes_of(kind: str) -> tuple[Recipe, ...]:
    task, presets = WORK[kind]
    compared = tuple(Recipe(task, preset) for preset in presets)
    return (*compared, Recipe(*CUT))


def command(recipe: Recipe, options: argparse.Namespace, out: Path, seed: int, extra: Sequence[str]) -> list[str]:
    """Return the arguments of gan-tasks that train a recipe."""
    words = ["train", recipe.task, "--data", str(options.data), "--out", str(out), "--preset", recipe.preset]
    of_task = [
        word for task, *words in map(shlex.split, options.task_options) if task == recipe.task for word in words
    ]
    return [*words, "--seed", str(seed), *options.extra, *of_task, *extra]


def train(arguments: Sequence[str], seconds: float | None = None) -> None:
    """Train to the end, or for some seconds. If this script is stopped, the training saves a checkpoint first.

    Raises SystemExit if the training fails.
    """
    # In a session of its own it gets no Ctrl-C, only the signal that this script sends.
    process = subprocess.Popen([*PROGRAM, *arguments], start_new_session=True)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if process.returncode not in ((0,) if seconds is None else (0, STOPPED)):
        raise SystemExit(f"`gan-tasks {shlex.join(arguments)}` ended with exit code {process.returncode}")


def images_per_s(run: Path) -> float:
    """Return the images in a second between the first and the last line of numbers in a run's journal."""
    lines = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    numbers = [line for line in lines if "event" not in line]
    if len(numbers) < 2:
        raise SystemExit(f"{run} logged fewer than two lines in {CALIBRATION_S} s: give smaller networks or images")
    first, last = numbers[0], numbers[-1]
    speed: float = (last["images"] - first["images"]) / (last["time"] - first["time"])
    return speed


def calibrated(out: Path, name: str, training: Callable[[Path], Sequence[str]]) -> float:
    """Return the images in a second of a training, from a short one; the figure is kept in the folder.

    training: the arguments of gan-tasks that train into a run folder.
    """
    kept = out / f"{name}-images-per-s.json"
    if not kept.exists():
        run = out / f"{name}-calibration"
        shutil.rmtree(run, ignore_errors=True)  # of a calibration that was stopped
        train(training(run), CALIBRATION_S)
        kept.write_text(json.dumps(images_per_s(run)))
    return float(json.loads(kept.read_text()))


def epochs_for(recipe: Recipe, options: argparse.Namespace, images: int) -> int:
    """Return the epochs that fit into `--minutes`."""
    logged = ["--log-every-steps", "5"]
    speed = calibrated(options.out, recipe.name, lambda run: command(recipe, options, run, 0, logged))
    minutes: float = options.minutes
    return max(2, round(speed * minutes * 60 / images))


def count_images(data: Path) -> int:
    """Return the number of images in an epoch: those of the larger side, A or B, of the training images."""
    sides = (data / "train" / side for side in "AB")
    return max(sum(path.suffix.lower() in IMAGE_SUFFIXES for path in side.iterdir()) for side in sides)


def train_all(options: argparse.Namespace) -> Iterator[tuple[Recipe, int, Path]]:
    """Train what is missing, seed by seed, and yield each recipe, its seed and its run."""
    images = count_images(options.data)
    recipes = recipes_of(options.kind)
    epochs = {recipe: epochs_for(recipe, options, images) for recipe in recipes}
    for seed in options.seeds:
        for recipe in recipes:
            run, decay = options.out / f"{recipe.name}-{seed}", epochs[recipe] // 2
            extra = ["--epochs", str(epochs[recipe]), "--decay-epochs", str(decay)]
            is_begun = (run / "config.json").exists()
            train(["train", "--resume", str(run)] if is_begun else command(recipe, options, run, seed, extra))
            yield recipe, seed, run


def measured(run: Path, options: argparse.Namespace, network: str, direction: str) -> dict[str, Any] | None:
    """Return the figures of a run by a feature network; None if the network cannot compare it."""
    program = [*PROGRAM, "evaluate", str(run), "--data", str(options.data)]
    weights = ["--features-weights", str(options.vgg16)] if network == "vgg16" and options.vgg16 else []
    out = ["--direction", direction, "--out", str(run / f"{direction}-by-{network}"), "--json"]
    done = subprocess.run([*program, "--features", network, *weights, *out], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return None
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def summary(values: Sequence[float]) -> str:
    """Return the mean, and the range of several values."""
    if len(values) == 1:
        return f"{values[0]:.3g}"
    return f"{statistics.mean(values):.3g} ({min(values):.3g}–{max(values):.3g})"


def row(name: str, found: Sequence[dict[str, Any] | None]) -> str:
    """Return a line of the table: a recipe in one direction, over the seeds."""
    figures = [each for each in found if each is not None]
    if not figures:
        return f"| {name} | not compared | | 0 |"
    distances = [1e3 * each["set_metrics"]["kernel_distance"]["mean"] for each in figures]
    l1 = [each["model"]["l1"]["mean"] for each in figures if "l1" in each["model"]]
    return f"| {name} | {summary(distances)} | {summary(l1) if l1 else ''} | {len(figures)} |"


def directions_of(recipe: Recipe) -> tuple[str, ...]:
    return ("a-to-b", "b-to-a") if recipe.task == "cyclegan" else ("a-to-b",)


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        usage="%(prog)s {facades,unpaired} --data DIR --out DIR [OPTIONS] [-- OPTIONS OF EVERY TRAINING]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", choices=WORK, help="facades: pairs; unpaired: two folders A and B")
    parser.add_argument("--data", type=Path, required=True, help="folder with train and test")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--minutes", type=float, default=30, help="length of each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="a training of each recipe for each")
    parser.add_argument(
        "--features", nargs="+", default=["efficientnet-lite0", "vgg16"], help="networks that compare"
    )
    parser.add_argument(
        "--task-options", nargs="+", default=[], metavar="WORDS", help="a task and options of its trainings"
    )
    parser.add_argument("--vgg16", type=Path, help="weights of VGG16, for --features vgg16")
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return parser.parse_args(arguments[:end], argparse.Namespace(extra=arguments[end + 1 :]))


def main() -> None:
    options = parsed(sys.argv[1:])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    options.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, list[dict[str, Any] | None]]] = {network: {} for network in options.features}
    for recipe, _, run in train_all(options):
        for network, direction in itertools.product(options.features, directions_of(recipe)):
            results = found[network].setdefault(f"{recipe.name}, {direction}", [])
            results.append(measured(run, options, network, direction))
        (options.out / "results.json").write_text(json.dumps(found, indent=1))
    for network, by_recipe in found.items():
        print(f"\n## By {network}\n\n| Recipe | Kernel distance ×10³ | L1 | Seeds |\n|---|---|---|---|")
        print("\n".join(row(name, results) for name, results in by_recipe.items()))


if __name__ == "__main__":
    main()

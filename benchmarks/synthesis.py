"""Train generators of images for the same time on a folder, and follow their distance from the held-out images.

    python benchmarks/synthesis.py --data FOLDER --minutes 30 --out runs/synthesis
    python benchmarks/synthesis.py --data FOLDER --out runs/synthesis --recipes small small-plain -- --width 64

FOLDER has train/ and test/. A recipe is a preset of the task synthesis, and options. Each is first trained for a
minute to see how many images it takes in a second; from that follows the number of epochs for `--minutes`. What
follows `--` goes to every training. The script can be stopped at any time by Ctrl-C or SIGTERM, and the same command
continues it.

Then the checkpoints, at equal times, are evaluated: kernel distance, precision, recall, density, coverage and
diversity of `--samples` samples beside the images of test/. In --out, `results.json` has all figures, `results.html`
the table, the charts over time and the samples, each chart is an .svg file, too, and RECIPE-SEED.png shows samples.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from recipes import PROGRAM, calibrated, summary, train

from gan_tasks.datasets.images import IMAGE_SUFFIXES, to_uint8
from gan_tasks.export.evaluation.generation.draws import drawn
from gan_tasks.export.load import load_model
from gan_tasks.metrics.distribution import COLLAPSED_DIVERSITY
from gan_tasks.runs.checkpoint import list_checkpoints
from gan_tasks.runs.image_grid import sheet
from gan_tasks.runs.journal import read_journal
from gan_tasks.runs.reports.charts import HEIGHT, WIDTH, Chart, Line, draw
from gan_tasks.runs.reports.html import RIGHT, embedded, page, section, table
from gan_tasks.runs.reports.style import STYLE

AUGMENTATIONS = ("colour", "translation", "cutout", "flip", "geometry")
RECIPES: Mapping[str, tuple[str, ...]] = {
    "dcgan": ("--preset", "dcgan"),
    "wgan-gp": ("--preset", "wgan-gp"),
    "small": ("--preset", "small"),
    "small-ada": ("--preset", "small", "--d-augment", *AUGMENTATIONS, "--d-augment-adaptive"),
    "small-plain": ("--preset", "small", "--d-augment"),
}
"""Options of each recipe. The discriminator's images are augmented always in small, as often as is needed in
small-ada (ADA), and never in small-plain."""
SHOWN = 32
"""Samples in the picture of a run."""
LEGEND_PX = 16

Figures = dict[str, Any]
"""Those of a checkpoint: `images`, `minutes`, and the metrics of sets."""


def command(name: str, options: argparse.Namespace, out: Path, seed: int, *extra: str) -> list[str]:
    """Return the arguments of gan-tasks that train a recipe."""
    side = str(options.side)
    size = ("--load-size", side, "--crop-size", side, side)
    words = ["train", "synthesis", "--data", str(options.data), "--out", str(out), *RECIPES[name], *size]
    return [*words, "--seed", str(seed), *options.extra, *extra]


def speed_of(name: str, options: argparse.Namespace) -> float:
    """Return the images in a second that a recipe is trained with."""
    return calibrated(options.out, name, lambda run: command(name, options, run, 0, "--log-every-steps", "5"))


def trained(name: str, seed: int, options: argparse.Namespace) -> Path:
    """Train a recipe, or what is left of it, and return the run."""
    run: Path = options.out / f"{name}-{seed}"
    seconds = 60 * options.minutes
    epochs = max(1, round(speed_of(name, options) * seconds / count_images(options.data)))
    interval_s = max(1, round(seconds / options.checkpoints))
    keeping = ("--checkpoint-every-s", str(interval_s), "--checkpoint-every-steps", "0")
    # The last quarter at a falling learning rate, in presets whose rate falls.
    lasting = ("--epochs", str(epochs), "--decay-epochs", str(epochs // 4))
    kept = ("--keep-checkpoints", str(2 * options.checkpoints + 2), "--evaluate-every-steps", "0")
    is_begun = (run / "config.json").exists()
    train(
        ["train", "--resume", str(run)] if is_begun else command(name, options, run, seed, *lasting, *keeping, *kept)
    )
    return run


def count_images(data: Path) -> int:
    return sum(path.suffix.lower() in IMAGE_SUFFIXES for path in (data / "train").rglob("*"))


def chosen(checkpoints: Sequence[Path], count: int) -> list[Path]:
    """Return at most so many of the checkpoints, evenly spread, with the last one."""
    places = np.linspace(0, len(checkpoints) - 1, min(count, len(checkpoints))).round().astype(int)
    return [checkpoints[place] for place in dict.fromkeys(places.tolist())]


def over_training(run: Path, options: argparse.Namespace, images_per_s: float) -> list[Figures]:
    """Return the figures of checkpoints of a run, from the first to the last."""
    last = next(line for line in reversed(read_journal(run / "journal.jsonl")) if line["step"])
    found = []
    for checkpoint in chosen(list_checkpoints(run / "checkpoints"), options.checkpoints):
        images = int(checkpoint.name.rpartition("-")[2]) * last["images"] / last["step"]
        if images:  # not the untrained network
            sets = measured(checkpoint, options, options.out / "evaluated" / f"{run.name}-{checkpoint.name}.json")
            found.append({"images": images, "minutes": images / images_per_s / 60, **sets})
    return found


def measured(checkpoint: Path, options: argparse.Namespace, kept: Path) -> Figures:
    """Return the metrics of the samples of a checkpoint as a set; they are kept in a file.

    Raises SystemExit if it cannot be evaluated.
    """
    if not kept.exists():
        words = ["evaluate", str(checkpoint), "--data", str(options.data), "--samples", str(options.samples)]
        program = [*PROGRAM, *words, "--features", options.features, "--no-path-length", "--json"]
        done = subprocess.run(program, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(f"{checkpoint} was not evaluated: exit code {done.returncode}")
        content = json.loads(done.stdout)
        sets = content["set_metrics"] | {"pixel_diversity": content["pixel_diversity"]}
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(json.dumps(sets | {"real_vs_real": content["real_vs_real"]}))
    figures: Figures = json.loads(kept.read_text())
    return figures


def samples_of(run: Path) -> list[Any]:
    """Return samples of the newest checkpoint, H×W×C each."""
    model = load_model(run, device="auto")
    return [to_uint8(image) for sample in drawn({"": model}, range(SHOWN), None) for image in sample.outputs.values()]


def distance(figures: Figures) -> float:
    return 1e3 * float(figures["kernel_distance"]["mean"])


def row(name: str, runs: Sequence[Sequence[Figures]]) -> list[str]:
    """Return the cells of a recipe, each the mean and the range over its runs at the end of the training."""
    ends = [figures[-1] for figures in runs]
    best = [min(map(distance, figures)) for figures in runs]
    collapsed = sum(end["diversity"] < COLLAPSED_DIVERSITY for end in ends)
    cells = [summary([end["images"] / 1e3 for end in ends]), summary(list(map(distance, ends))), summary(best)]
    cells += [summary([end[key] for end in ends]) for key in ("precision", "recall", "density", "coverage")]
    cells += [summary([end[key] for end in ends]) for key in ("diversity", "pixel_diversity")]
    return [name, *cells, f"{collapsed} of {len(ends)}"]


HEADS = (
    "Recipe",
    "1,000 images seen",
    "Kernel distance ×10³",
    "its smallest",
    "Precision",
    "Recall",
    "Density",
    "Coverage",
    "Diversity",
    "of pixels",
    "Collapsed",
)


def chart(title: str, unit: str, found: Mapping[str, Mapping[str, list[Figures]]], key: str) -> Chart:
    """Return a metric over the minutes of the first run of each recipe, with the interval of a kernel distance."""
    lines = []
    for name, runs in found.items():
        figures = next(iter(runs.values()))
        minutes = np.array([each["minutes"] for each in figures])
        if key == "kernel_distance":
            values, low, high = (
                np.array([1e3 * each[key][end] for each in figures]) for end in ("mean", "low", "high")
            )
            lines.append(Line(name, minutes, values, low, high, noisy=False))
        else:
            lines.append(Line(name, minutes, np.array([float(each[key]) for each in figures]), noisy=False))
    return Chart(title, unit, lines, x_unit="minutes of training")


def standalone(drawn_chart: Chart) -> str:
    """Return a chart as an SVG file with its style and its legend."""
    figure = draw(drawn_chart)
    inner = figure[figure.index("<svg") : figure.rindex("</svg>")]
    inner = inner[inner.index(">") + 1 :]
    height = HEIGHT + LEGEND_PX * (len(drawn_chart.lines) + 1)
    legend = "".join(
        f'<g class="line-{number}"><polyline points="62,{y} 80,{y}"/><text x="86" y="{y + 4}">{escape(line.label)}'
        "</text></g>"
        for number, line in enumerate(drawn_chart.lines)
        for y in [HEIGHT + LEGEND_PX * (number + 0.5)]
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {WIDTH} {height}">'
        f'<style>text {{ font-family: sans-serif }}{STYLE}</style><rect width="100%" height="100%" '
        f'style="fill: var(--panel)"/>{inner}{legend}</svg>\n'
    )


def write_results(out: Path, found: Mapping[str, Mapping[str, list[Figures]]], runs: Mapping[str, Path]) -> None:
    """Write the results so far; `runs` are one of each recipe, whose samples are shown."""
    (out / "results.json").write_text(json.dumps(found, indent=1))
    rows = [row(name, list(by_seed.values())) for name, by_seed in found.items()]
    charts = {
        "kernel-distance": chart("Kernel distance", "×10³", found, "kernel_distance"),
        "diversity": chart("Diversity", "1 = as varied as real images", found, "diversity"),
        "coverage": chart("Coverage", "share of the real images", found, "coverage"),
    }
    for name, each in charts.items():
        (out / f"{name}.svg").write_text(standalone(each))
    cells = [(name, [f"<td{RIGHT}>{escape(cell)}</td>" for cell in others]) for name, *others in rows]
    pictures = [
        embedded(np.array(Image.open(out / f"{run.name}.png")), name, f"Samples of {run.name}.")
        for name, run in runs.items()
    ]
    sections = [
        section("At the end of the training", table("Recipes", HEADS[0], HEADS[1:], cells)),
        section("Over the training", f'<div class="charts">{"".join(map(draw, charts.values()))}</div>'),
        section("Samples", "".join(pictures)),
    ]
    (out / "results.html").write_text(page("Synthesis", sections))
    print("\n| " + " | ".join(HEADS) + " |\n" + "|---" * len(HEADS) + "|")
    print("\n".join(f"| {' | '.join(cells)} |" for cells in rows), flush=True)


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        usage="%(prog)s --data DIR --out DIR [OPTIONS] [-- OPTIONS OF EVERY TRAINING]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with train and test")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs and the results")
    parser.add_argument("--minutes", type=float, default=30, help="length of each training")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES), help="what is trained")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="a training of each recipe for each")
    parser.add_argument("--side", type=int, default=64, help="side of the images in px")
    parser.add_argument("--checkpoints", type=int, default=6, help="number of checkpoints that are evaluated")
    parser.add_argument("--samples", type=int, default=500, help="samples of each checkpoint")
    parser.add_argument("--features", default="efficientnet-lite0", help="network that compares the sets of images")
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return parser.parse_args(arguments[:end], argparse.Namespace(extra=arguments[end + 1 :]))


def main() -> None:
    options = parsed(sys.argv[1:])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    options.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, list[Figures]]] = {}
    runs: dict[str, Path] = {}
    for seed in options.seeds:
        for name in options.recipes:
            run = trained(name, seed, options)
            found.setdefault(name, {})[str(seed)] = over_training(run, options, speed_of(name, options))
            Image.fromarray(sheet(samples_of(run), 8)).save(options.out / f"{run.name}.png")
            runs.setdefault(name, run)
            write_results(options.out, found, runs)


if __name__ == "__main__":
    main()

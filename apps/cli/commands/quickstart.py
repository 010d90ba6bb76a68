"""`gan-tasks quickstart`: train, measure and show a small model, on photographs that come with scikit-image.

At the end it shows what the models of gan-tasks-models make of these photographs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gan_tasks.apps.cli.arguments import Command
from gan_tasks.apps.cli.commands.export import export_verified
from gan_tasks.apps.cli.commands.serve import Serve
from gan_tasks.apps.cli.console import FAILED, OK, say
from gan_tasks.datasets.ranges import Checked, LearningRate, PositiveCount, Seed

if TYPE_CHECKING:
    from gan_tasks.export.evaluation.result import Evaluation
    from gan_tasks.export.models.run_model import TrainedModel

LARGEST_SHARE = 0.85  # of the best baseline's L1
SHOWN = ("astronaut-y000-x384", "coffee-y000-x344", "coffee-y128-x344", "rocket-y256-x512")


@dataclass(frozen=True)
class Quickstart(Checked, Command):
    """Train a small model on built-in photographs, measure it and show the result, in a few minutes."""

    out: Path = Path("quickstart")
    """The folder to make. Where it exists, a number is added to its name."""
    lr: LearningRate = 1e-3
    """The learning rate."""
    epochs: PositiveCount = 160
    """The number of passes over the 15 photographs."""
    seed: Seed = 0
    """The seed of all random numbers."""
    serve: bool = False
    """Open the model's web page in the end."""

    def run(self) -> int:
        model = quickstart(self.out, lr=self.lr, epochs=self.epochs, seed=self.seed)
        if model is None:
            return FAILED
        show_gallery(model.parent / "gallery.png")
        return Serve((model,), open=True).run() if self.serve else OK


def quickstart(out: Path, *, lr: float, epochs: int, seed: int) -> Path | None:
    """Make pairs of painting and photo, learn to turn paintings into photos, and measure on unseen regions.

    Returns the model if its held-out L1 is at most 0.85 of that of the best of three baselines: the painting itself,
    the mean photo, an affine map of the colours. Writes out/pairs, out/run (with report.html), out/before-after.png
    and, if it worked, out/model.onnx, which is verified to give the same results without torch.
    """
    from gan_tasks.datasets.augmentations import FramingConfig
    from gan_tasks.datasets.paired import PairedConfig
    from gan_tasks.datasets.sample_photos import photo_pairs
    from gan_tasks.export.evaluation.evaluate import evaluate
    from gan_tasks.export.evaluation.result import write_json
    from gan_tasks.export.models.run_model import TrainedModel
    from gan_tasks.optim.lr_schedules import ScheduleConfig
    from gan_tasks.optim.optimizers import OptimisationConfig
    from gan_tasks.runs.model_card import write_model_card
    from gan_tasks.runs.reports.report import write_report
    from gan_tasks.tasks.pix2pix import Pix2Pix
    from gan_tasks.training.config import TrainConfig
    from gan_tasks.training.loop import train

    out = free_folder(out)
    pairs = photo_pairs(out / "pairs")
    say(f"made pairs of painting and photo in {pairs}; the right part of each photo is kept for the test")
    task = Pix2Pix(
        generator="unet-128",
        width=16,
        d_width=16,
        dropout=False,
        optimisation=OptimisationConfig(batch_size=4, lr=lr, ema_halflife_images=200),
        schedule=ScheduleConfig(epochs=epochs, decay_epochs=epochs // 2),
        data=PairedConfig(framing=FramingConfig(load_size=0, crop_size=(128, 128))),
    )
    config = TrainConfig(seed=seed, workers=1, log_every_steps=15, sample_every_steps=150)
    run = train(task, data=pairs, out=out / "run", config=config)
    model = TrainedModel(run)
    result = evaluate(model, pairs)
    worked, sentence = verdict(result)
    write_json(run / "evaluation.json", result.with_verdict(sentence))
    draw(model, pairs, out / "before-after.png")
    (run / "before-after.png").write_bytes((out / "before-after.png").read_bytes())
    report = write_report(run)
    write_model_card(run)
    print(sentence)
    if worked:
        say("exporting the model and verifying that it gives the same results without torch")
        for line in export_verified(run, out / "model.onnx").lines():
            print(line)
    print(f"the pictures: {out / 'before-after.png'}   the report: {report}")
    if worked:
        print(f"use it: gan-tasks serve {out / 'model.onnx'} --open")
        print(f"    or: gan-tasks apply {out / 'model.onnx'} {pairs / 'test' / 'A'} results")
    return out / "model.onnx" if worked else None


def show_gallery(path: Path) -> None:
    """Draw what the models of gan-tasks-models make of the photographs, or say why there is no such picture."""
    from gan_tasks.apps.gallery import draw_gallery
    from gan_tasks.datasets.errors import UserError
    from gan_tasks.pretrained.shipped import missing

    say("drawing what the models of gan-tasks-models make of the photographs")
    try:
        drawn = draw_gallery(path)
    except UserError as error:  # what was trained before is there all the same
        say(f"there is no gallery: {error}")
        return
    if not drawn:
        say(f"there is no gallery: {missing()}")
        return
    print(f"the gallery of {', '.join(drawn)}: {path}")
    print("use them: gan-tasks serve --open")


def verdict(result: Evaluation) -> tuple[bool, str]:
    """Whether the model is better than every baseline, and that in a sentence."""
    name, best = min(
        ((subject.name, subject.metrics["l1"].mean) for subject in result.baselines), key=lambda item: item[1]
    )
    reached = result.models[0].metrics["l1"].mean
    share = reached / best
    worked = share <= LARGEST_SHARE
    compared = f"held-out L1 {reached:.4f}, {share:.2f} of that of the best baseline ({name}: {best:.4f})"
    if worked:
        return True, f"It works: {compared}."
    return False, f"It does not work: {compared}; it should be at most {LARGEST_SHARE}."


def draw(model: TrainedModel, pairs: Path, path: Path) -> None:
    """Write a grid of a few held-out paintings, the model's outputs, and the photos."""
    from gan_tasks.datasets.images import Picture, to_uint8, write
    from gan_tasks.runs.image_grid import grid
    from gan_tasks.training.validation import arrays

    data, _ = model.task.open_data(pairs, "test", augment=False, seed=0)
    rows = []
    for index in range(len(data)):
        if data.name(index) not in SHOWN:
            continue
        (source,), photo = arrays(model.task, data, index)
        rows.append([to_uint8(image) for image in (source, model.run(source[None])[0], photo)])
    write(path, Picture(grid(rows, ["painting", "model", "photo"])))


def free_folder(path: Path) -> Path:
    """The path, or the first of path-2, path-3 … that does not exist."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free

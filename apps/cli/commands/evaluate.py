"""`gan-tasks evaluate` and `gan-tasks compare`: measure, print, and write the results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gan_tasks.apps.cli.arguments import Command
from gan_tasks.apps.cli.console import OK, print_line
from gan_tasks.apps.cli.options import Positional
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.ranges import Checked, Seconds
from gan_tasks.export.evaluation.options import EvaluationOptions, MaskOptions
from gan_tasks.tasks import find_task

if TYPE_CHECKING:
    from gan_tasks.export.evaluation.result import Evaluation
    from gan_tasks.export.models.base import Model
    from gan_tasks.tasks.base import Task

TITLES = {"options": "metrics", "mask_options": "masks"}


@dataclass(frozen=True)
class Evaluate(Checked, Command):
    """Measure a model on held-out images, and compare it with baselines."""

    titles: ClassVar[Mapping[str, str]] = TITLES

    model: Positional[Path]
    """The model: a run folder, one of its checkpoints, an .onnx file, a published .pth or .safetensors, or the name
    of a model (`gan-tasks models` lists them)."""
    data: Path
    """The folder that it was trained on, or one of the same layout."""
    out: Path | None = None
    """The folder to write evaluation.html, .csv (a row per image) and .json into. The default for a run is its own
    folder."""
    task: str = ""
    """The task that the data are for. The default is the model's own."""
    direction: Literal["a-to-b", "b-to-a"] | None = None
    """The direction of translation. The default is that of the training where it is known, else a-to-b."""
    json: bool = False
    """Print all results as JSON, with the figures of each image."""
    device: str = "auto"
    """The device to run on: auto, cpu, cuda or cuda:N."""
    max_seconds: Seconds | None = None
    """The longest time of one run of an .onnx file, as for `gan-tasks apply`."""
    mode: Literal["eval", "train"] = "eval"
    """The mode of the network. train keeps dropout and uses the statistics of each batch, as the published pix2pix is
    tested."""
    options: EvaluationOptions = EvaluationOptions()
    mask_options: MaskOptions = MaskOptions()

    def run(self) -> int:
        if self.task:
            find_task(self.task)
        evaluate_command(self)
        return OK


@dataclass(frozen=True)
class Compare(Checked, Command):
    """Measure several models on the same images, and test whether their differences are significant."""

    titles: ClassVar[Mapping[str, str]] = TITLES

    models: Positional[tuple[Path, ...]]
    """Two or more models, each as for `gan-tasks evaluate`."""
    data: Path
    """The folder of images."""
    out: Path | None = None
    """The folder to write comparison.html, .csv (a row per image) and .json into. Without it nothing is written."""
    task: str = ""
    """The task that the data are for. The default is that of the first model."""
    direction: Literal["a-to-b", "b-to-a"] | None = None
    """The direction of translation. The default is that of the training where it is known, else a-to-b."""
    json: bool = False
    """Print all results as JSON, with the figures of each image."""
    device: str = "auto"
    """The device to run on: auto, cpu, cuda or cuda:N."""
    max_seconds: Seconds | None = None
    """The longest time of one run of an .onnx file, as for `gan-tasks apply`."""
    mode: Literal["eval", "train"] = "eval"
    """The mode of the networks. train keeps dropout and uses the statistics of each batch, as the published pix2pix
    is tested."""
    options: EvaluationOptions = EvaluationOptions()
    mask_options: MaskOptions = MaskOptions()

    def run(self) -> int:
        if self.task:
            find_task(self.task)
        compare_command(self)
        return OK


def evaluate_command(command: Evaluate) -> None:
    """Evaluate a model; the results of a run's best checkpoint on a whole held-out split go into the run folder."""
    from gan_tasks.export.evaluation.evaluate import evaluate
    from gan_tasks.export.evaluation.masks import with_masks
    from gan_tasks.export.evaluation.model_tasks import open_model, task_of
    from gan_tasks.runs.folder import RunFolder
    from gan_tasks.runs.model_card import write_model_card
    from gan_tasks.runs.reports.report import write_report

    check_out(command.out)
    model = open_model(command.model, device=command.device, mode=command.mode, direction=command.direction)
    model.max_run_seconds = command.max_seconds
    task = with_masks(task_of(model, command.task, direction=command.direction), command.mask_options)
    found = evaluate(model, command.data, task=task, options=command.options)
    of_run = is_of_run(command)
    out = command.out or (command.model if of_run else None)
    if out:
        write_all(out, "evaluation", found, {found.models[0].name: model}, command.data, task)
    if of_run:
        if RunFolder(command.model).journal.is_file():
            write_report(command.model)
        write_model_card(command.model)
    show(found, as_json=command.json, out=out, name="evaluation")


def is_of_run(command: Evaluate) -> bool:
    """Whether the results are those of a run as it is: all images of a held-out split, with its own options."""
    options = command.options
    return (
        (command.model / "config.json").is_file()
        and command.mode == "eval"
        and not (options.crop or options.patch or options.limit)
        and options.split != "train"
        and not command.task
        and not command.mask_options.asked
    )


def compare_command(command: Compare) -> None:
    """Evaluate and compare models. Raises UserError for fewer than two."""
    from gan_tasks.export.evaluation.evaluate import compare
    from gan_tasks.export.evaluation.masks import with_masks
    from gan_tasks.export.evaluation.model_tasks import common_task, open_model, task_of

    if len(command.models) < 2:
        raise UserError(f"{len(command.models)} model to compare: give two or more, or use `gan-tasks evaluate`")
    check_out(command.out)
    models: dict[str, Model] = {}
    for path in command.models:
        model = open_model(path, device=command.device, mode=command.mode, direction=command.direction)
        model.max_run_seconds = command.max_seconds
        models[unused(path.resolve().name, models)] = model
    given = command.task or command.direction
    first = next(iter(models.values()))
    task = task_of(first, command.task, direction=command.direction) if given else common_task(models)
    task = with_masks(task, command.mask_options)
    found = compare(models, command.data, task=task, options=command.options)
    if command.out:
        write_all(command.out, "comparison", found, models, command.data, task)
    show(found, as_json=command.json, out=command.out, name="comparison")


def unused(name: str, names: Mapping[str, Model]) -> str:
    """The name, with a number where it is taken."""
    number, free = 1, name
    while free in names:
        number += 1
        free = f"{name} ({number})"
    return free


def check_out(out: Path | None) -> None:
    """Raise UserError, before anything is measured, where the results could not be written."""
    from gan_tasks.export.inference.apply import check_writable

    if out is not None:
        check_writable(out.absolute(), "give another folder with --out")


def write_all(
    out: Path, stem: str, found: Evaluation, models: dict[str, Model], data: Path, task: Task[Any, Any]
) -> None:
    from gan_tasks.export.evaluation.galleries import draw_galleries
    from gan_tasks.export.evaluation.report import write_evaluation_report
    from gan_tasks.export.evaluation.result import write_csv, write_json

    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{stem}.json", found)
    write_csv(out / f"{stem}.csv", found)
    write_evaluation_report(out / f"{stem}.html", found, draw_galleries(found, models, data, task))


def show(found: Evaluation, *, as_json: bool, out: Path | None, name: str) -> None:
    import json

    from gan_tasks.apps.cli.tables import print_evaluation
    from gan_tasks.export.evaluation.result import to_json

    if as_json:
        print(json.dumps(to_json(found), indent=1, ensure_ascii=False))
        return
    print_evaluation(found)
    for note in (*found.notes, *([f"{found.mask_source}."] if found.mask_source else [])):
        print_line(note)
    print_line(found.verdict)
    hint = "--out FOLDER writes a report with pictures, and the figures of each image"
    print_line(f"the report: {out / name}.html" if out else hint)

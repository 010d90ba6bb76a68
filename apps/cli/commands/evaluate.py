"""`gan-tasks evaluate` and `gan-tasks compare`: measure, print, and write what was found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.evaluation.evaluate import common_task, compare, evaluate, open_model, task_of
from gan_tasks.export.evaluation.galleries import draw_galleries
from gan_tasks.export.evaluation.mask_ratios import METRICS
from gan_tasks.export.evaluation.masks import with_masks
from gan_tasks.export.evaluation.report import scaled, set_columns, set_names, text, write_evaluation_report
from gan_tasks.export.evaluation.result import Evaluation, Figure, to_json, write_csv, write_json
from gan_tasks.export.models.base import Model
from gan_tasks.metrics.catalogue import metric_named
from gan_tasks.runs.folder import RunFolder
from gan_tasks.runs.model_card import write_model_card
from gan_tasks.runs.report import write_report
from gan_tasks.tasks.base import Task

if TYPE_CHECKING:
    from gan_tasks.apps.cli.main import Compare, Evaluate


def evaluate_command(command: Evaluate) -> None:
    """Of a run whose best checkpoint is measured on all of a held-out split, the run's own figures are renewed."""
    model = open_model(command.model, device=command.device, mode=command.mode, direction=command.direction)
    task = with_masks(task_of(model, command.task, direction=command.direction), command.mask_options)
    found = evaluate(model, command.data, task=task, options=command.options)
    options = command.options
    of_run = (
        (command.model / "config.json").is_file()
        and command.mode == "eval"
        and not options.crop
        and not options.patch
    )
    of_run = of_run and not options.limit and options.split != "train" and not command.task
    of_run = of_run and not command.mask_options.asked
    out = command.out or (command.model if of_run else None)
    if out:
        write_all(out, "evaluation", found, {found.models[0].name: model}, command.data, task)
    if of_run:
        if RunFolder(command.model).journal.is_file():
            write_report(command.model)
        write_model_card(command.model)
    show(found, as_json=command.json, out=out, name="evaluation")


def compare_command(command: Compare) -> None:
    """Raises UserError for fewer than two models."""
    if len(command.models) < 2:
        raise UserError(f"{len(command.models)} model to compare: give two or more, or use `gan-tasks evaluate`")
    models: dict[str, Model] = {}
    for path in command.models:
        model = open_model(path, device=command.device, mode=command.mode, direction=command.direction)
        models[unused(path.resolve().name, models)] = model
    given = command.task or command.direction
    first = next(iter(models.values()))
    task = task_of(first, command.task, direction=command.direction) if given else common_task(models)
    task = with_masks(task, command.mask_options)
    found = compare(models, command.data, task=task, options=command.options)
    if command.out:
        write_all(command.out, "comparison", found, models, command.data, task)
    show(found, as_json=command.json, out=command.out, name="comparison")


def unused(name: str, names: dict[str, Model]) -> str:
    number, free = 1, name
    while free in names:
        number += 1
        free = f"{name} ({number})"
    return free


def write_all(
    out: Path, stem: str, found: Evaluation, models: dict[str, Model], data: Path, task: Task[Any, Any]
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{stem}.json", found)
    write_csv(out / f"{stem}.csv", found)
    write_evaluation_report(out / f"{stem}.html", found, draw_galleries(found, models, data, task))


def show(found: Evaluation, *, as_json: bool, out: Path | None, name: str) -> None:
    if as_json:
        print(json.dumps(to_json(found), indent=1, ensure_ascii=False))
        return
    console = Console()
    console.print(table_of_means(found))
    if found.mask_ratio_groups:
        console.print(table_by_mask_ratio(found))
    if found.features:
        console.print(table_of_sets(found))
    if len(found.models) > 1:
        console.print(table_of_tests(found))
    for note in (*found.notes, *([f"{found.mask_source}."] if found.mask_source else [])):
        print(note)
    print(found.verdict)
    hint = "--out FOLDER writes a report with pictures, and the figures of each image"
    print(f"the report: {out / name}.html" if out else hint)


def table_of_means(found: Evaluation) -> Table:
    title = f"{found.images} images of {found.data} ({found.split}): means with 95 % intervals"
    table = Table(title=title, title_justify="left")
    table.add_column("model or trivial answer")
    for metric in found.metrics:
        table.add_column(f"{metric.heading} {'↓' if metric.lower_is_better else '↑'}", justify="right")
    for subject in (*found.models, *found.baselines):
        metrics = subject.metrics
        table.add_row(subject.name, *(text(metrics.get(m.key), m.digits) for m in found.metrics))
    return table


def table_by_mask_ratio(found: Evaluation) -> Table:
    table = Table(title="By the share of an image that is hole", title_justify="left")
    for heading in ("hole", "images", "model or trivial answer"):
        table.add_column(heading, justify="right" if heading == "images" else "left")
    for metric in METRICS:
        table.add_column(f"{metric.heading} {'↓' if metric.lower_is_better else '↑'}", justify="right")
    for group in found.mask_ratio_groups:
        for number, (name, figures) in enumerate(group.figures.items()):
            cells = [text(figures.get(metric.key), metric.digits) for metric in METRICS]
            table.add_row(*((group.heading, str(group.images)) if number == 0 else ("", "")), name, *cells)
        table.add_section()
    return table


def table_of_sets(found: Evaluation) -> Table:
    table = Table(title=f"Sets of images, by the features of {found.features}", title_justify="left")
    columns = set_columns(found)
    for heading in ("outputs of", *(heading for heading, _ in columns)):
        table.add_column(heading, justify="left" if heading == "outputs of" else "right")
    for name in set_names(found):
        table.add_row(name, *(cells.get(name, "–") for _, cells in columns))
    return table


def table_of_tests(found: Evaluation) -> Table:
    title = "Differences, first − second, with 95 % intervals; p by swapping, corrected for the number of pairs"
    table = Table(title=title, title_justify="left")
    for heading in ("measure", "first", "second", "difference", "p", "better"):
        table.add_column(heading, justify="right" if heading in ("difference", "p") else "left")
    for test in found.tests:
        metric = metric_named(test.metric)
        figure = scaled(Figure(test.difference, test.low, test.high), metric)
        better = test.better or "no difference shown"
        table.add_row(metric.heading, test.first, test.second, text(figure, metric.digits), f"{test.p:.4f}", better)
    return table

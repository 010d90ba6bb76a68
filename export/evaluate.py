"""How good is a model on images it has not seen: full-reference measures beside trivial answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_tasks.datasets.errors import MissingSplitError, UserError
from gan_tasks.datasets.image import fit_channels
from gan_tasks.export.model import FloatImages, Model
from gan_tasks.measures import baselines, reference
from gan_tasks.measures.statistics import bootstrap_interval
from gan_tasks.progress import track
from gan_tasks.run import from_json, to_json
from gan_tasks.task import Data, Split, Task
from gan_tasks.tasks import find_task

MEASURES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": reference.l1,
    "psnr": reference.psnr,
    "ssim": reference.ssim,
}
Evaluation = dict[str, Any]


def evaluate(
    model: Model,
    root: Path,
    *,
    task: Task[Any, Any] | None = None,
    split: Split = "test",
    limit: int = 0,
    quiet: bool = False,
) -> Evaluation:
    """Measure a model and the trivial answers on a split of a data folder.

    L1 is of pixel values in [0, 1], PSNR in dB per image, SSIM with a Gaussian of 11 pixels; all on RGB (or whatever
    channels the model makes), as means with bootstrap intervals of 95 %. The trivial answers are fitted to the train
    split where there is one: the source itself, the mean photo, an affine map of the colours.

    Args:
        task: reads the data; `task_of(model)` if not given.

    Returns {"images", "model": {measure: {"mean", "low", "high"}}, "baselines": {name: …}, "per_image": …}.
    Raises UserError where the data has no such split or it does not fit the model.
    """
    task = task or task_of(model)
    data, _ = task.open_data(root, split, augment=False, seed=0)
    count = min(limit, len(data)) if limit else len(data)
    answers = trivial_answers(model, task, root, quiet=quiet)
    rows: dict[str, dict[str, list[float]]] = {
        name: {measure: [] for measure in MEASURES} for name in ("model", *answers)
    }
    with track(count, "Evaluating", "images", quiet=quiet) as advance:
        for sample in outputs(model, task, data, count):
            made = {"model": sample.output} | {name: answer(sample.source) for name, answer in answers.items()}
            for name, output in made.items():
                for measure, function in MEASURES.items():
                    measured = function(torch.from_numpy(output)[None], torch.from_numpy(sample.target)[None])
                    rows[name][measure].append(float(measured))
            advance(1)
    summary = {name: {m: summarise(values) for m, values in measured.items()} for name, measured in rows.items()}
    return {
        "images": count,
        "split": split,
        "data": str(root),
        "model": summary.pop("model"),
        "baselines": summary,
        "per_image": rows["model"],
    }


@dataclass(frozen=True)
class Sample:
    """One image that a model was given, what it made of it and what should come of it, C×H×W in [-1, 1]."""

    name: str
    source: FloatImages
    output: FloatImages
    target: FloatImages


def outputs(model: Model, task: Task[Any, Any], data: Data, count: int) -> Iterator[Sample]:
    """Run a model over the first `count` samples, one after another, for measures to be taken of.

    Source and target have the model's channels. Raises UserError where what it makes is not of the target's size.
    """
    for index in range(count):
        source, target = pair(model, task, data, index)
        output = model.run(source[None])[0]
        if output.shape != target.shape:
            raise UserError(
                f"{data.name(index)}: the model makes {describe(output)} of {describe(source)}, and the target is "
                f"{describe(target)}: give data as the model was trained on"
            )
        yield Sample(data.name(index), source, output, target)


def task_of(model: Model, name: str = "", *, direction: str | None = None) -> Task[Any, Any]:
    """The task that reads data for a model, with the options of its training where they are known.

    Args:
        name: of another task than the model says.
        direction: a-to-b or b-to-a, instead of that of the training.

    Raises UserError for a task that there is not, or that knows no direction.
    """
    task_class = find_task(name or model.name).load()
    options = to_json(task_class.Config())
    if model.task_options and name in ("", model.name):
        try:
            options |= json.loads(model.task_options)
        except (ValueError, TypeError) as error:
            raise UserError(f"{model.title} has damaged task_options: {error}. Export it again") from error
    if direction:
        if "direction" not in options.get("data", {}):
            raise UserError(f"{task_class.name} has one direction only: leave --direction out")
        options["data"]["direction"] = direction
    return task_class(from_json(task_class.Config, options))


def trivial_answers(
    model: Model, task: Task[Any, Any], root: Path, *, quiet: bool
) -> dict[str, Callable[[FloatImages], FloatImages]]:
    """The answers that need no network, fitted to the train split; none where there is no such split."""
    try:
        data, _ = task.open_data(root, "train", augment=False, seed=0)
    except MissingSplitError:
        return {}
    count = min(len(data), 200)  # enough for a mean and an affine map
    with track(count, "Fitting the trivial answers", "images", quiet=quiet) as advance:
        sources, targets = [], []
        for index in range(count):
            source, target = pair(model, task, data, index)
            sources.append(source)
            targets.append(target)
            advance(1)
    fitted = baselines.trivial_answers(sources, targets)
    answers: dict[str, Callable[[FloatImages], FloatImages]] = {
        "mean image": fitted.mean,
        "affine map of the colours": fitted.affine,
    }
    if model.in_channels == model.out_channels or {model.in_channels, model.out_channels} <= {1, 3}:
        answers["source itself"] = fitted.identity
    return answers


def pair(model: Model, task: Task[Any, Any], data: Data, index: int) -> tuple[FloatImages, FloatImages]:
    """The source and target of a sample, C×H×W in the model's channels."""
    (source,), target = arrays(task, data, index)
    return with_channels(source, model.in_channels), with_channels(target, model.out_channels)


def arrays(task: Task[Any, Any], data: Data, index: int) -> tuple[tuple[FloatImages, ...], FloatImages]:
    """The inputs of a sample and its target, C×H×W."""
    sample = data[(0, index)]
    batch = type(sample)(*(torch.from_numpy(np.asarray(image))[None] for image in sample))
    inputs, target = task.inputs_and_target(batch)
    return tuple(image[0].numpy() for image in inputs), target[0].numpy()


def with_channels(image: FloatImages, channels: int) -> FloatImages:
    """C×H×W, as `fit_channels` does for pixels."""
    return np.ascontiguousarray(fit_channels(image.transpose(1, 2, 0), channels).transpose(2, 0, 1))


def describe(image: FloatImages) -> str:
    channels, height, width = image.shape
    return f"{height}×{width} pixels of {channels} channels"


def summarise(values: list[float]) -> dict[str, float]:
    low, high = bootstrap_interval(values)
    return {"mean": float(np.mean(values)), "low": low, "high": high}


def write_evaluation(path: Path, evaluation: Evaluation) -> None:
    """As JSON; an endless PSNR is written as text, which JSON has no number for."""
    path.write_text(json.dumps(finite(evaluation), indent=1, ensure_ascii=False), encoding="utf-8")


def finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return value if not isinstance(value, float) or np.isfinite(value) else str(value)

"""How good is a model on images it has not seen: full-reference measures beside trivial answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_tasks.datasets.errors import MissingSplitError
from gan_tasks.export.model import FloatImages
from gan_tasks.export.trained import TrainedModel
from gan_tasks.measures import baselines, reference
from gan_tasks.measures.statistics import bootstrap_interval
from gan_tasks.progress import track
from gan_tasks.task import Data, Split

MEASURES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": reference.l1,
    "psnr": reference.psnr,
    "ssim": reference.ssim,
}
Evaluation = dict[str, Any]


def evaluate(
    model: TrainedModel, root: Path, *, split: Split = "test", limit: int = 0, quiet: bool = False
) -> Evaluation:
    """Measure a model and the trivial answers on a split of a data folder.

    L1 is of pixel values in [0, 1], PSNR in dB per image, SSIM with a Gaussian of 11 pixels; all on RGB (or whatever
    channels the target has), as means with bootstrap intervals of 95 %. The trivial answers are fitted to the train
    split where there is one: the source itself, the mean photo, an affine map of the colours.

    Returns {"images", "model": {measure: {"mean", "low", "high"}}, "baselines": {name: …}, "per_image": …}.
    Raises UserError where the data has no such split or it does not fit the model.
    """
    data, _ = model.task.open_data(root, split, augment=False, seed=0)
    count = min(limit, len(data)) if limit else len(data)
    answers = trivial_answers(model, root, quiet=quiet)
    rows: dict[str, dict[str, list[float]]] = {
        name: {measure: [] for measure in MEASURES} for name in ("model", *answers)
    }
    with track(count, "Evaluating", "images", quiet=quiet) as advance:
        for index in range(count):
            (source,), target = arrays(model, data, index)
            outputs = {"model": model.run(source[None])[0]}
            outputs |= {name: answer(source) for name, answer in answers.items()}
            for name, output in outputs.items():
                for measure, function in MEASURES.items():
                    measured = function(torch.from_numpy(output)[None], torch.from_numpy(target)[None])
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


def trivial_answers(
    model: TrainedModel, root: Path, *, quiet: bool
) -> dict[str, Callable[[FloatImages], FloatImages]]:
    """The answers that need no network, fitted to the train split; none where there is no such split."""
    try:
        data, _ = model.task.open_data(root, "train", augment=False, seed=0)
    except MissingSplitError:
        return {}
    count = min(len(data), 200)  # enough for a mean and an affine map
    with track(count, "Fitting the trivial answers", "images", quiet=quiet) as advance:
        sources, targets = [], []
        for index in range(count):
            (source,), target = arrays(model, data, index)
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


def arrays(model: TrainedModel, data: Data, index: int) -> tuple[tuple[FloatImages, ...], FloatImages]:
    """The inputs of a sample and its target, C×H×W."""
    sample = data[(0, index)]
    batch = type(sample)(*(torch.from_numpy(np.asarray(image))[None] for image in sample))
    inputs, target = model.task.inputs_and_target(batch)
    return tuple(image[0].numpy() for image in inputs), target[0].numpy()


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

"""Evaluate and compare models on a split of a data folder, beside baselines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from gan_tasks.datasets.errors import MissingSplitError, UserError
from gan_tasks.datasets.images import channels_fit, fit_channels
from gan_tasks.datasets.masks.draw import Mask
from gan_tasks.export.evaluation import evaluator as metric_tools
from gan_tasks.export.evaluation.evaluator import Evaluator, MetricSet, Search
from gan_tasks.export.evaluation.mask_ratios import by_mask_ratio
from gan_tasks.export.evaluation.masks import mask_of, with_drawn_masks, with_gray_mask, with_known_pixels
from gan_tasks.export.evaluation.options import EvaluationOptions
from gan_tasks.export.evaluation.result import Evaluation
from gan_tasks.export.evaluation.significance import kernel_distance_tests, pairwise_tests, verdict
from gan_tasks.export.load import load_model
from gan_tasks.export.models.base import FloatImages, Model
from gan_tasks.export.models.run_model import TrainedModel
from gan_tasks.metrics.baselines import Baseline, Example
from gan_tasks.metrics.distribution import FRECHET_LEAST_IMAGES
from gan_tasks.progress import track
from gan_tasks.runs.folder import from_json, to_json
from gan_tasks.spec import ModelSpec
from gan_tasks.tasks import find_task
from gan_tasks.tasks.base import Data, Task
from gan_tasks.training.validation import Indices, arrays, digest, distinct

LARGEST_FIT = 200
"""Most training examples that baselines are fitted to: enough for a mean and an affine map."""
LARGEST_SEARCH = 2000
"""Most training images in which the nearest one to each output is searched; from more, this many are taken evenly."""


def evaluate(
    model: Model,
    root: Path,
    *,
    task: Task[Any, Any] | None = None,
    options: EvaluationOptions | None = None,
    quiet: bool = False,
) -> Evaluation:
    """Evaluate a model on a split of a data folder, beside baselines if the task has targets.

    `gan_tasks.metrics.catalogue` defines the metrics. Values are means over images with 95 % bootstrap intervals.
    Sets of images are compared by the features of a named network, if one is installed.

    Args:
        task: the task that reads the data; by default `task_of(model)`.

    Raises UserError if the data has no such split, or does not fit the model.
    """
    return compare({model.title: model}, root, task=task, options=options, quiet=quiet)


def compare(
    models: Mapping[str, Model],
    root: Path,
    *,
    task: Task[Any, Any] | None = None,
    options: EvaluationOptions | None = None,
    quiet: bool = False,
) -> Evaluation:
    """Evaluate models on the same images, and test which differences between them are significant.

    Args:
        models: the models by their names in the result.
        task: the task that reads the data for all models; by default that of the first model.

    Raises UserError as `evaluate` does, and if models differ in direction or in their number of output channels.
    """
    options = options or EvaluationOptions()
    first = next(iter(models.values()))
    task = task or common_task(models)
    has_target = task.evaluation().has_target
    if len({model.spec.out_channels for model in models.values()}) > 1:
        made = ", ".join(f"{name} {model.spec.out_channels}" for name, model in models.items())
        raise UserError(
            f"the models have different numbers of output channels ({made}): compare models with the same number"
        )
    data, in_folder = task.open_data(root, options.split, augment=False, seed=0)
    indices = distinct(task, data, options.limit)
    if not indices.any:
        raise UserError(f"{root} has no images in the split {options.split}: give a folder with such images")
    train = open_train(task, root)
    baselines = fitted_baselines(first, task, train, quiet=quiet) if has_target else {}
    channels = first.spec.in_channels, first.spec.out_channels
    images = set_size(first, task, data, indices, options.patch)
    tools = metric_tools.choose(options, task, images=images, channels=channels, quiet=quiet)

    measured = {name: Evaluator(name, tools, has_target=has_target) for name in (*models, *baselines)}
    real, inputs = (
        Evaluator("real images", tools, has_target=False),
        Evaluator("untranslated", tools, has_target=False),
    )
    names, sizes, mask_ratios = [], [], []
    with track(len(indices.any), "Evaluating", "images", quiet=quiet) as advance:
        for index in indices.any:
            sample = run_models(models, task, data, index)
            if index in indices.sources:
                names.append(sample.name)
                sizes.append((sample.target if sample.image is None else sample.image).shape[1:])
                if sample.mask is not None:
                    mask_ratios.append(float(sample.mask.mean()))
                # A patch of a smaller input would show more of the scene than a patch of the target.
                if sample.image is not None and (not options.patch or first.spec.scale == 1):
                    inputs.add_to_set(with_gray_mask(sample.image, sample.mask))
                for name, output in sample.outputs.items():
                    measured[name].add(output, sample.target, sample.mask)
                    measured[name].add_to_set(output)
                for name, baseline in baselines.items():
                    predicted = with_channels(baseline(*sample.inputs), first.spec.out_channels)
                    if sample.image is not None:
                        predicted = with_known_pixels(predicted, sample.image, sample.mask)
                    measured[name].add(predicted, sample.target, sample.mask)
                    measured[name].add_to_set(predicted)
            if index in indices.targets:
                real.add(sample.target, None)
                real.add_to_set(sample.target)
            advance(1)
    has_search = not options.patch and options.split != "train"
    search = train_search(first, task, train, tools, quiet=quiet) if has_search else None
    own_source = not has_target and first.spec.image is not None and not options.patch
    chosen = [measured[name].subject(real, inputs, search, own_source=own_source) for name in models]
    measured_baselines = [measured[name].subject(real, inputs, None, own_source=False) for name in baselines]
    rivals = list(combinations(chosen, 2)) or [(chosen[0], baseline) for baseline in measured_baselines]
    tests = pairwise_tests(rivals)
    if (real_rows := real.rows()) is not None:
        rows = {name: row for name, item in measured.items() if (row := item.rows()) is not None}
        tests += kernel_distance_tests(real_rows, rows, [(a.name, b.name) for a, b in rivals])
    areas = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    evaluation = Evaluation(
        task=task.name,
        data=str(root),
        split=options.split,
        names=tuple(names),
        samples=tuple(sorted(indices.sources)),
        sizes=(areas[0], areas[-1]),
        mode="train" if any(model.is_in_train_mode for model in models.values()) else "eval",
        crop_px=options.crop,
        models=tuple(chosen),
        baselines=tuple(measured_baselines),
        inputs=inputs.set_metrics(real) if real_rows is not None and inputs.rows() is not None else None,
        real=real.per_image(),
        features=tools.network.name if tools.network else "",
        real_vs_real=real.real_vs_real(),
        tests=tuple(tests),
        notes=tuple(tools.notes),
        mask_source=in_folder.summary if mask_ratios else "",
        mask_ratios=tuple(mask_ratios),
        mask_ratio_groups=by_mask_ratio(mask_ratios, [*chosen, *measured_baselines]),
    )
    return evaluation.with_verdict(verdict(evaluation))


# --- Models and data -----------------------------------------------------------------------------------------


def open_model(path: Path, *, device: str, mode: Literal["eval", "train"], direction: str | None) -> Model:
    """Load a model as `load_model` does; for a run with several directions, load the requested one."""
    model = load_model(path, device=device, mode=mode)
    if direction and direction in model.spec.directions and isinstance(model, TrainedModel):
        return load_model(path, device=device, mode=mode, direction=direction)
    return model


def task_of(model: Model, name: str = "", *, direction: str | None = None) -> Task[Any, Any]:
    """Return the task that reads data for a model, with the options of its training if they are known.

    Args:
        name: name of the task, if not the model's own.
        direction: a-to-b or b-to-a; by default the direction of the training.

    Raises UserError for an unknown task, a direction that the task does not have, and a model of another direction.
    """
    task_class = find_task(name or model.spec.task).load()
    is_known = bool(model.task_options) and name in ("", model.spec.task)
    if is_known:
        try:
            options = to_json(task_class.Config()) | json.loads(model.task_options)
        except (ValueError, TypeError) as error:
            raise UserError(f"{model.title} has damaged task_options: {error}. Export it again") from error
        task = task_class(from_json(task_class.Config, options))
    else:
        task = task_class() if model.task_options else task_class.for_model(model.spec)
    if not direction:
        return task
    if is_known and model.spec.direction not in ("", direction):
        raise UserError(
            f"{model.title} has the direction {model.spec.direction}: for {direction}, give the run or the file of "
            "that direction"
        )
    return task.in_direction(direction)


def common_task(models: Mapping[str, Model]) -> Task[Any, Any]:
    """Return the task of the first model.

    Raises UserError if another model has another direction, or if only some of the models have targets.
    """
    found = {name: task_of(model) for name, model in models.items()}
    (first_name, first), *others = found.items()
    for name, task in others:
        are_known = models[name].task_options and models[first_name].task_options
        if are_known and task.direction != first.direction:
            raise UserError(
                f"{first_name} has the direction {first.direction or 'none'} and {name} has "
                f"{task.direction or 'none'}: compare models of one direction, or give the direction with --direction"
            )
        if task.evaluation().has_target != first.evaluation().has_target:
            raise UserError(
                f"{first_name} is a model of {first.name} and {name} of {task.name}: give the task that reads the "
                "data with --task"
            )
    return first


def open_train(task: Task[Any, Any], root: Path) -> Data | None:
    """Open the training split; return None if there is none."""
    try:
        return with_drawn_masks(task).open_data(root, "train", augment=False, seed=0)[0]
    except MissingSplitError:
        return None


@dataclass(frozen=True)
class Sample:
    """A sample: the inputs and outputs of the models, and the target. Images are C×H×W in [-1, 1].

    inputs: in the order of the first model's spec, with its numbers of channels.
    outputs: by model, with the unmasked pixels of the image put back.
    target: the target; for a task without targets, any image of the target domain.
    mask: H×W, True for masked pixels; None for a task without masks.
    image: the first image of the inputs; None for a model without an image input.
    """

    name: str
    inputs: tuple[FloatImages, ...]
    outputs: dict[str, FloatImages]
    target: FloatImages
    mask: Mask | None
    image: FloatImages | None


def run_models(models: Mapping[str, Model], task: Task[Any, Any], data: Data, index: int) -> Sample:
    """Run models on one sample. In mode train, dropout depends on the index of the sample only.

    Raises UserError if an output does not have the target's size.
    """
    given, outputs = [], {}
    for name, model in models.items():
        inputs, target = example(model, task, data, index)
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(index)
            output = model.run(*(each[None] for each in inputs))[0]
        if task.evaluation().has_target and output.shape != target.shape:
            image = image_of(model.spec, inputs)
            raise UserError(
                f"{data.name(index)}: the output has {describe(output)}"
                f"{'' if image is None else f' for an input of {describe(image)}'}, and the target has "
                f"{describe(target)}: give data of the kind that the model was trained on"
            )
        given.append(inputs)
        outputs[name] = output
    spec = next(iter(models.values())).spec
    mask, image = mask_of(spec, given[0]), image_of(spec, given[0])
    if image is not None:
        outputs = {name: with_known_pixels(output, image, mask) for name, output in outputs.items()}
    return Sample(data.name(index), given[0], outputs, target, mask, image)


def image_of(spec: ModelSpec, inputs: Sequence[FloatImages]) -> FloatImages | None:
    """Return the first image of the inputs; None for a model without an image input."""
    return None if spec.image is None else inputs[spec.inputs.index(spec.image)]


def set_size(model: Model, task: Task[Any, Any], data: Data, indices: Indices, patch_px: int) -> int:
    """Return the size of the smaller set, outputs or real images, in images or patches.

    Counting of patches stops at FRECHET_LEAST_IMAGES.
    """
    if not patch_px:
        return indices.fewest
    outputs = real = 0
    for index in indices.any:
        inputs, target = example(model, task, data, index)
        image = image_of(model.spec, inputs)
        _, *made = model.spec.output_shape(*(0, 0) if image is None else image.shape[1:])
        outputs += metric_tools.count_patches(tuple(made), patch_px) * (index in indices.sources)
        real += metric_tools.count_patches(target.shape[1:], patch_px) * (index in indices.targets)
        if min(outputs, real) >= FRECHET_LEAST_IMAGES:
            break
    return min(outputs, real)


def fitted_baselines(model: Model, task: Task[Any, Any], train: Data | None, *, quiet: bool) -> dict[str, Baseline]:
    """Fit the task's baselines; leave out the one whose channels cannot be converted to the model's."""
    indices = range(min(len(train), LARGEST_FIT) if train else 0)

    def examples() -> Iterator[Example]:
        with track(len(indices), "Fitting baselines", "images", quiet=quiet or not train) as advance:
            for index in indices:
                assert train is not None
                yield example(model, task, train, index)
                advance(1)

    baselines = task.evaluation().fit_baselines(examples())
    fits = channels_fit(model.spec.in_channels, model.spec.out_channels)
    return {name: baseline for name, baseline in baselines.items() if fits or name != "source itself"}


def train_search(
    model: Model, task: Task[Any, Any], train: Data | None, tools: MetricSet, *, quiet: bool
) -> Search | None:
    """Compute the features of the training targets, to find outputs that repeat one.

    Returns None if there are no training images or no feature network.
    """
    if train is None or tools.network is None:
        return None
    count = min(len(train), LARGEST_SEARCH)
    chosen = [index * len(train) // count for index in range(count)]
    names: dict[bytes, str] = {}
    search = Evaluator("training images", tools, has_target=False)
    with track(count, "Reading training images", "images", quiet=quiet) as advance:
        for index in chosen:
            _, target = example(model, task, train, index)
            if names.setdefault(digest(target), train.name(index)) == train.name(index):
                search.add_to_set(target)
            advance(1)
    if count < len(train):
        tools.notes.append(f"Repeated training images were searched in {count:,} of {len(train):,}.")
    rows = search.rows()
    return None if rows is None else Search(tuple(names.values()), rows)


def example(model: Model, task: Task[Any, Any], data: Data, index: int) -> Example:
    """Return the inputs and the target of a sample, C×H×W with the model's numbers of channels."""
    arrays_of_sample, target = arrays(task, data, index)
    inputs = tuple(
        with_channels(each, given.channels) if given.kind == "image" else each
        for given, each in zip(model.spec.inputs, arrays_of_sample, strict=True)
    )
    return inputs, with_channels(target, model.spec.out_channels)


def with_channels(image: FloatImages, channels: int) -> FloatImages:
    """Convert C×H×W to another number of channels, as `fit_channels` does for pixels."""
    return np.ascontiguousarray(fit_channels(image.transpose(1, 2, 0), channels).transpose(2, 0, 1))


def describe(image: FloatImages) -> str:
    channels, height, width = image.shape
    return f"{height}×{width} pixels of {channels} channels"

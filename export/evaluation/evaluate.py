"""Evaluate and compare models on a split of a data folder, beside baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import channels_fit
from gan_tasks.export.evaluation import evaluator as metric_tools
from gan_tasks.export.evaluation.data import open_images
from gan_tasks.export.evaluation.evaluator import Evaluator, MetricSet, Search
from gan_tasks.export.evaluation.generation.draws import all_generate, check_count, classes_of, drawn
from gan_tasks.export.evaluation.generation.equivariance import with_equivariances
from gan_tasks.export.evaluation.generation.path_length import with_path_lengths
from gan_tasks.export.evaluation.mask_ratios import by_mask_ratio
from gan_tasks.export.evaluation.masks import with_gray_mask, with_known_pixels
from gan_tasks.export.evaluation.model_tasks import common_task
from gan_tasks.export.evaluation.options import EvaluationOptions
from gan_tasks.export.evaluation.result import Evaluation
from gan_tasks.export.evaluation.samples import (
    Sample,
    example,
    image_of,
    real_image,
    run_models,
    with_channels,
)
from gan_tasks.export.evaluation.significance import kernel_distance_tests, pairwise_tests, verdict
from gan_tasks.export.models.base import FloatImages, Model
from gan_tasks.metrics.baselines import Baseline, Example
from gan_tasks.metrics.distribution import FRECHET_LEAST_IMAGES
from gan_tasks.progress import track
from gan_tasks.tasks.base import Data, Task
from gan_tasks.training.validation import Indices, digest, distinct

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
    generates = all_generate(models)
    check_count(options.samples, generates=generates)
    opened = open_images(models, task, root, options.split)
    data, train = opened.images, opened.train
    indices = distinct(task, data, options.limit)
    if not indices.any:
        raise UserError(f"{root} has no images in the split {options.split}: give a folder with such images")
    numbers = range(options.samples or len(indices.targets)) if generates else sorted(indices.sources)
    classes = classes_of(models, task, data, sorted(indices.targets)) if generates else None
    baselines = fitted_baselines(first, task, train, quiet=quiet) if has_target else {}
    channels = first.spec.in_channels, first.spec.out_channels
    images = min(len(numbers), len(indices.targets))
    images = images if generates else set_size(first, task, data, indices, options.patch)
    training = {name: model.spec.trained_with for name, model in models.items()}
    tools = metric_tools.choose(options, training, images=images, channels=channels, generates=generates, quiet=quiet)
    tools.notes[:0] = opened.notes

    measured = {name: Evaluator(name, tools, has_target=has_target) for name in (*models, *baselines)}
    real, inputs = (
        Evaluator("real images", tools, has_target=False),
        Evaluator("untranslated", tools, has_target=False),
    )
    names, sizes, mask_ratios = [], [], []
    shown = samples_and_targets(models, task, data, indices)
    if generates:
        shown = draws_and_targets(models, task, data, indices, numbers, classes)
    with track(len(numbers if generates else indices.any), "Evaluating", "images", quiet=quiet) as advance:
        for sample, target in shown:
            if sample is not None:
                names.append(sample.name)
                sizes.append(size_of(sample))
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
            if target is not None:
                real.add(target, None)
                real.add_to_set(target)
            advance(int(sample is not None or not generates))
    has_search = not options.patch and options.split != "train"
    search = train_search(first, task, train, tools, quiet=quiet) if has_search else None
    own_source = not has_target and first.spec.image is not None and not options.patch
    chosen = [measured[name].subject(real, inputs, search, own_source=own_source) for name in models]
    measured_baselines = [measured[name].subject(real, inputs, None, own_source=False) for name in baselines]
    if generates and options.path_length:
        chosen = with_path_lengths(chosen, models, tools, paths=len(numbers), classes=classes, quiet=quiet)
    if generates and options.equivariance:
        chosen = with_equivariances(chosen, models, tools, images=len(numbers), quiet=quiet)
    rivals = list(combinations(chosen, 2)) or [(chosen[0], baseline) for baseline in measured_baselines]
    tools.notes.extend(filter(None, (measured[name].colour_remark(real) for name in models)))
    tests = pairwise_tests(rivals, paired=not generates)
    if (real_rows := real.rows()) is not None:
        rows = {name: row for name, item in measured.items() if (row := item.rows()) is not None}
        pairs = [(a.name, b.name) for a, b in rivals]
        tests += kernel_distance_tests(real_rows, rows, pairs, paired=not generates)
    areas = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    evaluation = Evaluation(
        task=task.name,
        data=str(root),
        split=opened.split,
        names=tuple(names),
        samples=tuple(numbers),
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
        real_images=len(indices.targets) if generates else None,
        mask_source=opened.summary if mask_ratios else "",
        mask_ratios=tuple(mask_ratios),
        mask_ratio_groups=by_mask_ratio(mask_ratios, [*chosen, *measured_baselines]),
    )
    return evaluation.with_verdict(verdict(evaluation))


SampleAndTarget = tuple[Sample | None, FloatImages | None]
"""The outputs of the models, and a real image. One of them may be left out."""


def samples_and_targets(
    models: Mapping[str, Model], task: Task[Any, Any], data: Data, indices: Indices
) -> Iterator[SampleAndTarget]:
    """Run models on each sample, and yield what is new: unpaired data repeat the images of the smaller side."""
    for index in indices.any:
        sample = run_models(models, task, data, index)
        yield sample if index in indices.sources else None, sample.target if index in indices.targets else None


def draws_and_targets(
    models: Mapping[str, Model],
    task: Task[Any, Any],
    data: Data,
    indices: Indices,
    seeds: Sequence[int],
    classes: Sequence[FloatImages] | None,
) -> Iterator[SampleAndTarget]:
    """Yield the samples of generators, then the real images: neither belongs to one of the other."""
    yield from ((sample, None) for sample in drawn(models, seeds, classes))
    first = next(iter(models.values()))
    yield from ((None, real_image(first, task, data, index)) for index in sorted(indices.targets))


def size_of(sample: Sample) -> tuple[int, int]:
    """Return (height, width) of the input; of the target if there is no input image, and of a drawn sample."""
    shown = (sample.image, sample.target, *sample.outputs.values())
    height, width = next(image.shape[1:] for image in shown if image is not None)
    return height, width


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
            target = real_image(model, task, train, index)
            if names.setdefault(digest(target), train.name(index)) == train.name(index):
                search.add_to_set(target)
            advance(1)
    if count < len(train):
        tools.notes.append(f"Repeated training images were searched in {count:,} of {len(train):,}.")
    rows = search.rows()
    return None if rows is None else Search(tuple(names.values()), rows)

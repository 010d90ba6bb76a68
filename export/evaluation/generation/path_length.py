"""The perceptual path length of the generators among the models, by a distance that is available."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from gan_tasks.datasets.errors import enumerated
from gan_tasks.export.evaluation.evaluator import MetricSet
from gan_tasks.export.evaluation.generation.draws import label_of
from gan_tasks.export.evaluation.result import Figure, PathLength, Subject
from gan_tasks.export.models.base import FloatImages, Model
from gan_tasks.export.models.torch_model import TorchModel
from gan_tasks.metrics.generators.path_length import (
    Distance,
    by_features,
    by_lpips,
    path_lengths,
    without_outliers,
)
from gan_tasks.metrics.lpips import LEAST_PX
from gan_tasks.metrics.statistics import bootstrap_interval
from gan_tasks.networks.synthesis.frame import SynthesisGenerator
from gan_tasks.progress import track
from gan_tasks.spec import ModelSpec

BATCH_PATHS = 4
SEED = 0


def with_path_lengths(
    subjects: Sequence[Subject],
    models: Mapping[str, Model],
    tools: MetricSet,
    *,
    paths: int,
    classes: Sequence[FloatImages] | None,
    quiet: bool,
) -> list[Subject]:
    """Return the results of models with their perceptual path lengths. A note says which have none, and why.

    Args:
        paths: number of paths.
        classes: of the real images; both ends of a path have one class.
    """
    generators = {name: generator_of(model) for name, model in models.items()}
    if without := [name for name, generator in generators.items() if generator is None]:
        tools.notes.append(
            f"The perceptual path length of {enumerated(without)} was not measured: it needs a run folder or a "
            "public checkpoint of synthesis, whose latent and network torch can run apart."
        )
    measured = []
    for subject in subjects:
        generator = generators[subject.name]
        found = subject
        if generator is not None:
            found = with_path_length(
                subject, generator, models[subject.name].spec, tools, paths, classes, quiet=quiet
            )
        measured.append(found)
    return measured


def with_path_length(
    subject: Subject,
    generator: SynthesisGenerator,
    spec: ModelSpec,
    tools: MetricSet,
    paths: int,
    classes: Sequence[FloatImages] | None,
    *,
    quiet: bool,
) -> Subject:
    chosen = distance_of(tools, spec)
    if chosen is None:
        tools.notes.append(
            f"The perceptual path length of {subject.name} was not measured: it needs a feature network, or --lpips."
        )
        return subject
    name, distance = chosen
    values = lengths_of(generator, distance, paths, classes if label_of(spec) else None, quiet=quiet)
    kept = without_outliers(values).tolist()
    figure = Figure(float(np.mean(kept)), *bootstrap_interval(kept))
    return replace(subject, path_length=PathLength(figure, space_of(generator), name, len(values)))


def generator_of(model: Model) -> SynthesisGenerator | None:
    if not isinstance(model, TorchModel):
        return None
    return next((part for part in model.network.modules() if isinstance(part, SynthesisGenerator)), None)


def space_of(generator: SynthesisGenerator) -> str:
    """Return "w" for a generator with a mapping network, whose styles have a mean, else "z"."""
    return "w" if generator.truncates else "z"


def distance_of(tools: MetricSet, spec: ModelSpec) -> tuple[str, Distance] | None:
    """Return LPIPS if its weights are given and the images are large enough, else a distance of features."""
    if tools.lpips is not None and min(spec.output_shape(0, 0)[1:]) >= LEAST_PX[tools.lpips.network]:
        return f"LPIPS with {'AlexNet' if tools.lpips.network == 'alex' else 'VGG16'}", by_lpips(tools.lpips)
    network = tools.network or (tools.inception and tools.inception.network)
    return (f"features of {network.name}", by_features(network)) if network else None


@torch.inference_mode()
def lengths_of(
    generator: SynthesisGenerator,
    distance: Distance,
    count: int,
    classes: Sequence[FloatImages] | None,
    *,
    quiet: bool,
) -> FloatImages:
    """Return the path lengths of `count` random paths."""
    rng, device = np.random.default_rng(SEED), next(generator.parameters()).device
    found = []

    def tensor(rows: FloatImages) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(rows)).to(device)

    with track(count, "Path lengths", "paths", quiet=quiet) as advance, exact_convolutions(device):
        for first in range(0, count, BATCH_PATHS):
            places = range(first, min(first + BATCH_PATHS, count))
            start, end = (tensor(rng.standard_normal((len(places), generator.latent), np.float32)) for _ in range(2))
            label = None
            if classes is not None:
                label = tensor(np.stack([classes[place % len(classes)] for place in places]))
            found.append(batch_lengths(generator, distance, start, end, label).float().cpu().numpy())
            advance(len(places))
    return np.concatenate(found)


def exact_convolutions(device: torch.device) -> AbstractContextManager[None]:
    """Return a context without TF32, whose rounding is larger than what the step of a path changes."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False) if device.type == "cuda" else nullcontext()


def batch_lengths(
    generator: SynthesisGenerator, distance: Distance, start: Tensor, end: Tensor, label: Tensor | None
) -> Tensor:
    # The feature networks are on the CPU, as in all evaluations.
    if space_of(generator) == "z":
        return path_lengths(start, end, lambda z: generator(z, label).cpu(), distance, spherical=True)
    first, last = generator.styles(start, label), generator.styles(end, label)
    return path_lengths(first, last, lambda w: generator.synthesize(w).cpu(), distance, spherical=False)

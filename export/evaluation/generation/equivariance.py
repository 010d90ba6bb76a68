"""The equivariance of the generators among the models: whether their images move with their input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gan_tasks.datasets.errors import UserError, enumerated
from gan_tasks.export.evaluation.evaluator import MetricSet
from gan_tasks.export.evaluation.generation.path_length import generator_of
from gan_tasks.export.evaluation.result import Subject
from gan_tasks.export.models.base import Model
from gan_tasks.metrics.generators.equivariance import KINDS, Kind, equivariance
from gan_tasks.networks.synthesis.frame import SynthesisGenerator
from gan_tasks.networks.synthesis.stylegan3 import FourierInput
from gan_tasks.progress import track


def with_equivariances(
    subjects: Sequence[Subject], models: Mapping[str, Model], tools: MetricSet, *, images: int, quiet: bool
) -> list[Subject]:
    """Return the results of models with their equivariances. A note says which have none, and why.

    Args:
        images: number of images.
    """
    measured, without = [], []
    with track(len(subjects), "Equivariance", "models", quiet=quiet) as advance:
        for subject in subjects:
            generator = generator_of(models[subject.name])
            values: dict[str, float] | None = None
            if generator is None:
                without.append(subject.name)
            else:
                try:
                    found = equivariance(generator, kinds_of(generator), images=images)
                    values = {str(kind): decibels for kind, decibels in found.items()}
                except UserError as error:  # too small images: the other results are of use
                    tools.notes.append(f"The equivariance of {subject.name} was not measured: {error}.")
            measured.append(replace(subject, equivariance=values))
            advance(1)
    if without:
        tools.notes.append(
            f"The equivariance of {enumerated(without)} was not measured: it needs a run folder or a public "
            "checkpoint of synthesis, whose input can be moved."
        )
    return measured


def kinds_of(generator: SynthesisGenerator) -> tuple[Kind, ...]:
    """Return what can be measured: only StyleGAN3 has an input that can be rotated."""
    return KINDS if isinstance(generator.base, FourierInput) else tuple(kind for kind in KINDS if kind != "eq_r")

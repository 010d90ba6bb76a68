"""The models that ship: how each is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gan_tasks.export.inference.predictor import Predictor
from shipped import colourise, descratch, fill, restore, translate, upscale
from shipped.data import Sources
from shipped.results import Goal, Table

Measure = Callable[[Predictor, Sources], tuple[list[Table], list[Goal]]]
"""Measures a model on images, beside its baselines. Raises UserError if images are missing."""

MODELS: Mapping[str, Measure] = {
    "upscale-x2": upscale.faithful,
    "upscale-x4": upscale.faithful,
    "upscale-x4-crisp": upscale.crisp,
    "restore-x1": restore.restore,
    "colourise": colourise.colourise,
    "descratch": descratch.descratch,
    "fill": fill.fill,
    "labels2facade": translate.with_pairs,
    "edges2shoe": translate.with_pairs,
    "summer2winter": translate.without_pairs,
    "winter2summer": translate.without_pairs,
}
"""How each model is measured, by its name."""

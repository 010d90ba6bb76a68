"""The served models that restore old photographs, and the jobs that run them in a chain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gan_tasks.apps.web.job_queue import JobRequest
from gan_tasks.apps.web.served_models import ServedModel
from gan_tasks.datasets.errors import UserError, enumerated
from gan_tasks.datasets.images import Pixels
from gan_tasks.export.chains.chain import Chain
from gan_tasks.export.inference.predictor import Predictor, Source
from gan_tasks.export.photographs.steps import STEPS, ColouriseIf, PhotoScale, Step, default_model
from gan_tasks.export.photographs.tones import NOT_COLOURISED, steps_for

SCALES: tuple[PhotoScale, ...] = (2, 4)
"""Scales that have a model of their own."""
KEY = "restored"
"""The key of a chain, which names its results."""


@dataclass(frozen=True)
class RestoreRequest:
    """What is to be done with a photograph.

    source: the encoded photograph; untrusted.
    scale: of the step upscale.
    keep_steps: whether the result has what each step made.
    """

    source: Source
    steps: Sequence[Step]
    scale: PhotoScale
    colourise_if: ColouriseIf = "gray"
    keep_steps: bool = False


@dataclass(frozen=True)
class Photographs:
    """The served models by the step that they take.

    upscalers: the models of the step upscale, by their scale.
    """

    models: Mapping[Step, ServedModel]
    upscalers: Mapping[PhotoScale, ServedModel]

    @classmethod
    def of(cls, served: Iterable[ServedModel]) -> Photographs | None:
        """Find the models by their keys, which are the names of the default models.

        Returns None if fewer than two of the steps have one.
        """
        by_key = {each.key: each for each in served if each.spec.runs_in_tiles}
        others = [step for step in STEPS if step != "upscale"]
        models: dict[Step, ServedModel] = {
            step: by_key[name] for step in others if (name := default_model(step)) in by_key
        }
        upscalers = {scale: by_key[name] for scale in SCALES if (name := default_model("upscale", scale)) in by_key}
        found = cls(models, upscalers)
        return found if len(found.steps) > 1 else None

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps that can be taken, in their order."""
        return tuple(step for step in STEPS if step in self.models or (step == "upscale" and self.upscalers))

    @property
    def scale(self) -> PhotoScale:
        """The scale that is taken if none is asked for."""
        return min(self.upscalers, default=SCALES[0])

    def job(self, request: RestoreRequest) -> JobRequest:
        """The job of a request. Raises UserError for no step, and for one whose model is not served."""
        if not request.steps:
            raise UserError(f"no step is chosen: choose one or more of {enumerated(self.steps)}")
        whole = self.chain(request.steps, request.scale)

        def choose(pixels: Pixels) -> ServedModel:
            needed = steps_for(pixels, request.steps, request.colourise_if)
            if not needed:
                tones, choices = NOT_COLOURISED[request.colourise_if]
                raise UserError(
                    f"the photograph is {tones}, and colourise is the only step: choose to colourise {choices}, or "
                    "choose another step"
                )
            return self.chain(needed, request.scale)

        image = whole.spec.image
        assert image is not None  # each step takes one
        return JobRequest(whole, {image.name: request.source}, choose=choose, keep_steps=request.keep_steps)

    def chain(self, steps: Sequence[Step], scale: PhotoScale) -> ServedModel:
        """The chain of these steps, in their order."""
        parts = [self.model(step, scale) for step in STEPS if step in steps]
        return ServedModel(KEY, Path(KEY), Predictor(Chain([part.model for part in parts])))

    def model(self, step: Step, scale: PhotoScale) -> ServedModel:
        """The model of a step. Raises UserError if it is not served."""
        found = self.upscalers.get(scale) if step == "upscale" else self.models.get(step)
        if found is None:
            names = {each.key for each in (*self.models.values(), *self.upscalers.values())}
            raise UserError(
                f"the model {default_model(step, scale)} is not served here: expected {enumerated(sorted(names))}"
            )
        return found

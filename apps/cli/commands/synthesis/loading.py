"""What the commands of generators share: the model, the class and the truncation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gan_tasks.apps.cli.console import say
from gan_tasks.apps.cli.memory import memory_bytes
from gan_tasks.datasets.ranges import Checked, Fraction

if TYPE_CHECKING:
    from gan_tasks.export.inference.synthesis.points import Point
    from gan_tasks.export.models.base import Model


@dataclass(frozen=True)
class Drawing(Checked):
    """How the images of seeds are drawn."""

    truncation: Fraction = 1.0
    """How far styles may be from their mean. Below 1 there is less variety and usually a better image. 0 is the mean
    image."""
    class_: str = ""
    """The class, by its name or its number, for a conditional model."""

    def points(self, model: Model, text: str) -> list[Point]:
        """The points of a list of seeds and files, in its order."""
        from gan_tasks.export.inference.synthesis.seeds import parse_points

        return parse_points(text, label=self.label(model), truncation=self.truncation)

    def named_points(self, model: Model, text: str) -> dict[str, Point]:
        """The points of a list of seeds and files, each once, by the names of their results."""
        from gan_tasks.export.inference.synthesis.seeds import named_points

        return named_points(text, label=self.label(model), truncation=self.truncation)

    def label(self, model: Model) -> int | None:
        """The number of the class; None if none is given."""
        from gan_tasks.export.inference.synthesis.inputs import check_generates, class_number

        check_generates(model)
        return class_number(model, self.class_)


@dataclass(frozen=True)
class Running(Checked):
    """How a model with weights is run."""

    device: str = "auto"
    """The device to run on: auto, cpu, cuda or cuda:N."""
    max_memory: str = ""
    """The memory for the network's features, such as 512MB, which limits how many images are made at once. The
    default is 2.4GB."""

    def load(self, path: Path, provider: str = "auto") -> Model:
        """The model, of which the person is told what runs it."""
        from gan_tasks.export.load import load_model

        model = load_model(path, device=self.device, provider=provider, apart=True)
        if self.max_memory:
            model.max_memory_bytes = memory_bytes(self.max_memory)
        say(f"{model.title} runs on {model.runs_on}")
        if model.notice:
            say(model.notice)
        return model

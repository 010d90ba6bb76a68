"""The models that are served, and the tabs in which the page shows them. Imports no web framework and no torch."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.inference.predictor import Predictor, Source
from gan_tasks.export.load import load
from gan_tasks.export.models.base import Model
from gan_tasks.export.onnx.file import read_onnx
from gan_tasks.export.onnx.several.on_demand import OnDemandModel, OpenModels
from gan_tasks.export.onnx.test_vectors import test_vectors_of
from gan_tasks.export.photographs.steps import STEPS
from gan_tasks.pretrained.shipped import ShippedModel, find_shipped, located
from gan_tasks.spec import ModelSpec, Use

Sources = Mapping[str, Source | None]
"""Encoded inputs by name; see `predictor.Source`. None where nothing was given."""


class ModelOptions(TypedDict):
    """How models are opened, see `open_models`."""

    provider: str
    device: str
    max_memory_bytes: int | None


SHARED_TABS: Mapping[Use, str] = {"upscale": "Super-resolution"}
"""Uses whose models share one tab, in which one of them is chosen, and the title of that tab."""


MOST_OPEN = len(STEPS)
"""Models of gan-tasks-models that are open at a time, each in a process of its own: those of an old photograph."""


@dataclass(frozen=True)
class ServedModel:
    """A model in use.

    key: its name in addresses: lower-case letters, digits and hyphens.
    examples: inputs that came with the model.
    options: what `gan-tasks apply` has to be told beside the path, to do the same.
    summary: what it is for, in a few words; empty if unknown.
    """

    key: str
    path: Path
    predictor: Predictor
    examples: tuple[Sources, ...] = ()
    options: tuple[str, ...] = ()
    summary: str = ""

    @property
    def model(self) -> Model:
        return self.predictor.model

    @property
    def spec(self) -> ModelSpec:
        return self.predictor.spec

    @property
    def title(self) -> str:
        return self.predictor.title


@dataclass(frozen=True)
class Tab:
    """One tab of the page: a model, the directions of one training, or all models of a use in SHARED_TABS.

    models: at least one; all take the same inputs.
    """

    title: str
    models: tuple[ServedModel, ...]

    @property
    def spec(self) -> ModelSpec:
        """Of the first model. The inputs and the use are those of all."""
        return self.models[0].spec


def open_models(
    paths: Sequence[Path], *, provider: str = "auto", device: str = "auto", max_memory_bytes: int | None = None
) -> list[ServedModel]:
    """Load models, as `load` does; run folders in every direction that they learned.

    Args:
        provider: what runs the ONNX files.
        device: auto, cpu, cuda or cuda:N.
        max_memory_bytes: limit for a network's features; None is the model's own.

    Raises UserError for a path that holds no model, and for no path at all.
    """
    if not paths:
        raise UserError("no model to serve: give one or more .onnx files, run folders, checkpoints or model names")
    opened: list[ServedModel] = []
    for path in paths:
        first = load(path, provider=provider, device=device, apart=True)
        directions = first.spec.directions if path.is_dir() else ()  # an exported file has one of them
        others = [each for each in directions if each != first.spec.direction]
        for predictor in (first, *(load(path, direction=each, device=device) for each in others)):
            if max_memory_bytes is not None:
                predictor.model.max_memory_bytes = max_memory_bytes
            name = path.name if path.is_dir() else path.stem
            options = (*predictor.model.command_options, *given_options(provider=provider, device=device))
            if directions:
                name = f"{name} {predictor.spec.direction}"
                options = (*options, "--direction", predictor.spec.direction)
            key = free_key(name, {served.key for served in opened})
            shipped = find_shipped(path)
            summary = shipped.summary if shipped else ""
            opened.append(ServedModel(key, path, predictor, examples_of(path), options, summary))
    return opened


def open_shipped(
    models: Sequence[ShippedModel],
    *,
    provider: str = "auto",
    device: str = "auto",
    max_memory_bytes: int | None = None,
) -> list[ServedModel]:
    """Serve models of gan-tasks-models, which are opened when they are used. Arguments are those of `open_models`.

    The first is opened now. Raises UserError for a provider or device that is not available.
    """
    open_now, served = OpenModels(MOST_OPEN), list[ServedModel]()
    for shipped in models:
        model = OnDemandModel(shipped.path, open_now, provider=provider, device=device)
        if max_memory_bytes is not None:
            model.max_memory_bytes = max_memory_bytes
        if not served:
            model.open()
        examples, options = examples_of(shipped.path), given_options(provider=provider, device=device)
        path = Path(shipped.name)
        served.append(ServedModel(shipped.name, path, Predictor(model), examples, options, shipped.summary))
    return served


def given_options(**options: str) -> tuple[str, ...]:
    """Options of the command line that are not auto."""
    return tuple(word for name, value in options.items() if value != "auto" for word in (f"--{name}", value))


def tabs_of(models: Sequence[ServedModel]) -> tuple[Tab, ...]:
    """The models by tab, in order. Models of one training that go in different directions share a tab."""
    groups: list[list[ServedModel]] = []
    for served in models:
        group = next((group for group in groups if belongs_to(served, group)), None)
        if group is None:
            groups.append([served])
        else:
            group.append(served)
    return tuple(Tab(title_of(group), tuple(group)) for group in groups)


def belongs_to(served: ServedModel, group: Sequence[ServedModel]) -> bool:
    """Whether a model stands in the same tab as those of the group."""
    spec, first = served.spec, group[0].spec
    kinds = [(given.name, given.kind) for given in spec.inputs]
    if spec.use != first.use or kinds != [(given.name, given.kind) for given in first.inputs]:
        return False
    if spec.use in SHARED_TABS:
        return True
    is_same_training = training_of(served) == training_of(group[0])
    is_new_direction = spec.direction not in {each.spec.direction for each in group}
    return is_same_training and bool(spec.direction and first.direction) and is_new_direction


def training_of(served: ServedModel) -> tuple[str, str, str]:
    return served.spec.task, served.model.source, served.model.training_data


def title_of(models: Sequence[ServedModel]) -> str:
    """The title that the models share, or else that of their use, the name of their run or the titles of all."""
    first, titles = models[0], list(dict.fromkeys(served.title for served in models))
    if len(titles) == 1:
        return titles[0]
    is_one_run = len({served.path for served in models}) == 1
    return SHARED_TABS.get(first.spec.use, first.model.source if is_one_run else " and ".join(titles))


def direction_label(model: Model) -> str:
    """The direction for people: by the sides' names where the data's name is like horse2zebra, else A to B."""
    sides = {"a": "A", "b": "B"}
    if named := re.match(r"([A-Za-z]{2,})2([A-Za-z]{2,})", model.training_data):
        sides = {"a": named[1], "b": named[2]}
    return " to ".join(sides.get(side, side) for side in model.spec.direction.split("-to-"))


def free_key(name: str, taken: set[str]) -> str:
    """The name as it may stand in an address; with a number where that is taken."""
    key = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "model"
    number, free = 1, key
    while free in taken:
        number += 1
        free = f"{key}-{number}"
    return free


def examples_of(path: Path) -> tuple[Sources, ...]:
    """The inputs of the test vectors that an ONNX file carries; none for other models."""
    path = located(path)
    if path.suffix.lower() != ".onnx":
        return ()
    vectors = test_vectors_of(read_onnx(path))
    return tuple({name: encoded(values) for name, values in vector.inputs.items()} for vector in vectors)


def encoded(values: NDArray[np.generic]) -> bytes:
    """C×H×W as an NPY file of H×W×C, which takes any number of channels; a vector as a JSON list."""
    if values.ndim == 1:
        return json.dumps(values.tolist()).encode()
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(values.transpose(1, 2, 0)))
    return file.getvalue()

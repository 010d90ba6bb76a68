"""The models of the package gan-tasks-models, found by name: `NAME.onnx` and its card `NAME.md`. It imports no torch.

The folder of the package is the list: nothing here names a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from gan_tasks.datasets.errors import UserError, did_you_mean

DISTRIBUTION, PACKAGE = "gan-tasks-models", "gan_tasks_models"
INSTALL = "python -m pip install ./models"
"""The command that installs the package, in a checkout."""
NOT_INSTALLED = f"the package {DISTRIBUTION} is not installed: {INSTALL}, in a checkout of gan-tasks"
SUMMARY, SCALE, LICENCE = "Summary", "Scale", "Licence"
"""Entries of a card that are read here."""


@dataclass(frozen=True)
class ShippedModel:
    """A model of the package."""

    path: Path
    """Its ONNX file."""
    card: Mapping[str, str]
    """The entries of its card."""

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def summary(self) -> str:
        """What it is for, in a few words."""
        return self.card.get(SUMMARY, "")

    @property
    def scale(self) -> str:
        """Output pixels per input pixel along a side."""
        return self.card.get(SCALE, "")

    @property
    def licence(self) -> str:
        return self.card.get(LICENCE, "")

    @property
    def size_mb(self) -> float:
        return self.path.stat().st_size / 1e6


def folder() -> Path | None:
    """Return the folder of the package; None if it is not installed. The package is not imported."""
    spec = find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


def shipped_models() -> tuple[ShippedModel, ...]:
    """Return the installed models by name."""
    found = folder()
    return tuple(map(opened, sorted(found.glob("*.onnx")))) if found else ()


def shared_licence(models: Sequence[ShippedModel]) -> str:
    """Return the licence that all models have; empty if they differ."""
    licences = {model.licence for model in models}
    return licences.pop() if len(licences) == 1 else ""


def opened(path: Path) -> ShippedModel:
    """Return the model of a file, with the card beside it; without a card if there is none."""
    card = path.with_suffix(".md")
    return ShippedModel(path, dict(entries(card.read_text(encoding="utf-8"))) if card.is_file() else {})


def entries(card: str) -> Iterator[tuple[str, str]]:
    """Yield the entries of a card, its lines `- Name: text`, up to the first section."""
    for line in card.partition("\n## ")[0].splitlines():
        name, colon, text = line.removeprefix("- ").partition(": ")
        if line.startswith("- ") and colon:
            yield name, text


def find_shipped(path: Path) -> ShippedModel | None:
    """Return the installed model with this name; None if there is none, or if a file or folder has this name."""
    name = str(path)
    found = folder()
    if found is None or path.name != name or path.exists():
        return None
    file = found / f"{name}.onnx"
    return opened(file) if file.is_file() else None


def located(path: Path) -> Path:
    """Return the ONNX file of an installed model for its name, and any other path as it is."""
    model = find_shipped(path)
    return model.path if model else path


def onnx_file(path: Path) -> Path:
    """Return what `located` does, for a command that takes ONNX files only.

    Raises UserError for what can only be meant as a name, if no installed model has it.
    """
    file = located(path)
    if file == path and is_name(path):
        names = [model.name for model in shipped_models()]
        listed = did_you_mean(str(path), names, f": expected an .onnx file, or one of {', '.join(names)}")
        raise UserError(f"no model is called {path}{listed if names else f': {missing()}'}")
    return file


def is_name(path: Path) -> bool:
    """Return whether a path can be meant as the name of a model: nothing is there, and it has no folder or suffix."""
    return path.name == str(path) and not path.suffix and not path.exists()


def missing() -> str:
    """Return why there are no models."""
    return f"the package {DISTRIBUTION} contains no models" if folder() else NOT_INSTALLED


def required_models() -> tuple[ShippedModel, ...]:
    """Return the installed models. Raises UserError if there are none."""
    if models := shipped_models():
        return models
    raise UserError(missing())

"""Adds a model to the package gan-tasks-models, or replaces its weights: the ONNX file and its card.

    python benchmarks/ship_model.py RUN NAME

RUN is a run folder or one of its checkpoints. What the run does not know, such as the licence and the limits, is
written in `models/models.toml`. The file has float16 weights and is written only if it is verified, small enough and
measured on the built-in photographs; else the old file stays. `benchmarks/shipped_models.py` then measures it, and
writes the other figures into the card.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from built_in_figures import FIELD, built_in_figure

from gan_tasks.datasets.errors import UserError, did_you_mean
from gan_tasks.datasets.images import atomic
from gan_tasks.export.load import load
from gan_tasks.export.models.run_model import TrainedModel
from gan_tasks.export.onnx.export import export_onnx
from gan_tasks.pretrained.shipped import SCALE, SUMMARY
from gan_tasks.runs.json_file import read_object
from gan_tasks.runs.model_card import head_lines, run_entries

MODELS = Path(__file__).parents[1] / "models"
TEXTS, FOLDER = MODELS / "models.toml", MODELS / "gan_tasks_models"
FIGURES_BEGIN, FIGURES_END = "<!-- figures -->", "<!-- /figures -->"
"""Lines of the card around the figures that `shipped_models.py` writes."""
LARGEST_BYTES = 5_000_000


@dataclass(frozen=True)
class Texts:
    """What `models.toml` says of a model."""

    summary: str
    """What it is for, in a few words; `gan-tasks models` prints it."""
    training_data: str
    """The sets of images by name, with their licences."""
    test_data: str
    """The images of its figures, which it was not trained on."""
    licence: str
    training_time: str
    training_command: str
    """The command that makes one training of this kind; `training_time` says how the model was trained."""
    limits: tuple[str, ...]
    """What the model cannot do, at least one sentence."""
    direction: str = ""
    """The direction of a run that learned both."""


def ship(run: Path, name: str, texts: Texts, folder: Path) -> tuple[Path, Path]:
    """Write NAME.onnx and NAME.md into a folder; return both paths. After an error, what was there is unchanged.

    Raises UserError for a run without checkpoint, a file that is not verified, or one that is too large.
    """
    model = TrainedModel(run, device="cpu", direction=texts.direction)
    config = read_object(model.checkpoint.parent.parent / "config.json")
    known = run_entries(config, licence=texts.licence, training_data=texts.training_data)
    entries = {SUMMARY: texts.summary, SCALE: str(model.spec.scale)} | known
    entries |= {
        "Training command": f"`{texts.training_command}`",
        "Training time": texts.training_time,
        "Checkpoint": model.checkpoint.name,
    }
    with TemporaryDirectory() as temporary:
        exported = Path(temporary) / f"{name}.onnx"
        report = export_onnx(
            model,
            exported,
            half=True,
            model_name=name,
            licence=texts.licence,
            training_data=texts.training_data,
            model_card="\n".join(head_lines(name, model.spec.task, entries)),
        )
        for line in report.lines():
            print(line)
        content = exported.read_bytes()
        check_size(name, content)
        if figure := built_in_figure(name, load(exported)):
            entries[FIELD] = figure.text()
    lines = [
        *head_lines(name, model.spec.task, entries),
        *("## Results", "", FIGURES_BEGIN, FIGURES_END, ""),
        *("## Known limits", "", *(f"- {limit}" for limit in texts.limits)),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    file, card = folder / f"{name}.onnx", folder / f"{name}.md"
    atomic.write_bytes(file, content)
    atomic.write_bytes(card, ("\n".join(lines) + "\n").encode())
    return file, card


def check_size(name: str, content: bytes) -> None:
    """Raise UserError for a file that is too large to ship."""
    if len(content) > LARGEST_BYTES:
        raise UserError(f"{name}.onnx has {len(content):,} bytes: expected at most {LARGEST_BYTES:,}")


def texts_of(name: str, path: Path = TEXTS) -> Texts:
    """Read what `models.toml` says of a model. Raises UserError for a model or an entry that it does not have."""
    tables: dict[str, dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8"))
    if name not in tables:
        raise UserError(f"{path} has no table [{name}]{did_you_mean(name, tables)}: write one")
    table: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in tables[name].items()
    }
    if unknown := table.keys() - {field.name for field in fields(Texts)}:
        raise UserError(f"[{name}] of {path} has unknown entries: {', '.join(sorted(unknown))}")
    try:
        return Texts(**table)
    except TypeError as error:
        raise UserError(f"[{name}] of {path} is not complete: {error}") from error


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path, help="a run folder or one of its checkpoints")
    parser.add_argument("name", help="the name of the model, a table of models/models.toml")
    options = parser.parse_args(arguments)
    try:
        for path in ship(options.run, options.name, texts_of(options.name), FOLDER):
            print(f"written: {path}")
    except UserError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()

"""`gan-tasks inspect`: describe a file or folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan_tasks.apps.cli.arguments import Command
from gan_tasks.apps.cli.console import OK, print_line
from gan_tasks.apps.cli.options import Positional
from gan_tasks.apps.suggestions import commands_for, resume_command, use_command
from gan_tasks.datasets.errors import UserError, counted, did_you_mean, on_one_line
from gan_tasks.spec import ModelSpec
from gan_tasks.tasks.own import option_for, option_of

LONGEST_NAME, LONGEST_VALUE = 200, 2000
"""Characters that are shown of a tensor's name, and of a text in the metadata of a file."""
LONGEST_CARD_BYTES = 100_000
"""What is shown of the model card of a run."""


@dataclass(frozen=True)
class Inspect(Command):
    """Describe a run, a checkpoint, a model, a file of weights, an image or a video."""

    file: Positional[Path]
    """The file or folder, or the name of a ready-made model."""

    def run(self) -> int:
        for line in inspect(self.file):
            print_line(on_one_line(line))
        return OK


def inspect(path: Path) -> Iterator[str]:
    """Lines that describe a run folder, a checkpoint, an exported model, a file of weights, an image or a video.

    Raises UserError where it is none of these.
    """
    from gan_tasks.datasets.images import IMAGE_SUFFIXES
    from gan_tasks.datasets.images.formats import kind_of
    from gan_tasks.export.inference.video.containers import is_video
    from gan_tasks.export.load import NCNN_SUFFIX, is_public_checkpoint, nearest_model
    from gan_tasks.pretrained.bundled import find_bundled, known_names
    from gan_tasks.pretrained.files.folders import WEIGHTS_SUFFIXES
    from gan_tasks.pretrained.shipped import find_shipped

    if (path / "config.json").is_file():
        yield from run_lines(path)
    elif (path / "state.json").is_file():
        yield from checkpoint_lines(path)
    elif path.suffix.lower() == ".onnx" and path.is_file():
        yield from onnx_lines(path, path)
    elif shipped := find_shipped(path):
        yield f"{shipped.name}: {shipped.summary}"
        yield from onnx_lines(shipped.path, path)
    elif is_public_checkpoint(path):
        yield from weights_lines(path, path)
    elif bundled := find_bundled(path):
        yield f"ready-made model of {bundled.package.project}: {bundled.summary}"
        yield f"licence: {bundled.package.licence}; {bundled.package.licence_url}"
        if bundled.limit:
            yield f"note: {bundled.limit}"
        yield from (ready_made_onnx_lines(path) if bundled.is_onnx else weights_lines(bundled.find(), path))
    elif path.is_file() and kind_of(path) == "image":
        yield from image_lines(path)
    elif is_video(path) and path.is_file():
        yield from video_lines(path)
    else:
        what = "is none of these" if path.exists() else "does not exist"
        suffixes = (*WEIGHTS_SUFFIXES, NCNN_SUFFIX)
        weights = f"weights ({', '.join(suffixes)})"
        expected = (
            f": expected a run folder, a checkpoint, an .onnx file, {weights}, an image, a video, or the name of a "
            "ready-made model"
        )
        names = known_names()
        known = (".onnx", *suffixes, *sorted(IMAGE_SUFFIXES)) if path.is_file() else ()
        raise UserError(f"{path} {what}{did_you_mean(path.suffix, known) or nearest_model(path, names) or expected}")


def run_lines(path: Path) -> Iterator[str]:
    from gan_tasks.runs.checkpoint import list_checkpoints
    from gan_tasks.runs.folder import RunFolder, read_run, spec_of
    from gan_tasks.tasks.shared.size_limit import build_without_weights

    task, content = read_run(path)
    run = RunFolder(path)
    yield f"run of {task.name} on {content['data']}"
    yield f"command: {content['command']}"
    yield f"hardware: {content['hardware']}"
    changed = differences(content["task_config"], type(task).Config())
    yield f"options that are not the default: {', '.join(changed) or 'none'}"
    build_without_weights(task)
    yield from spec_lines(spec_of(task, path))
    for name, networks in (("generator", task.generators), ("discriminator", task.discriminators)):
        count = sum(parameter.numel() for parameter in networks.parameters())
        if count:
            yield f"{name}: {counted(count, 'parameter')}"
    checkpoints = list_checkpoints(run.checkpoints)
    yield f"checkpoints: {', '.join(c.name for c in checkpoints) or 'none'}"
    if run.best:
        yield f"best: {run.best.name}"
    for stage, checkpoint in run.stage_ends.items():
        yield f"end of {stage}: {checkpoint.name}"
    options = option_for(type(task))
    if checkpoints:
        yield from position_lines(checkpoints[-1])
        yield from suggested(commands_for(path, task.spec(), options))
    else:
        yield f"to go on: {resume_command(path, options)}"
    if (card := path / "model-card.md").is_file():
        with card.open("rb") as file:
            yield from card_lines(file.read(LONGEST_CARD_BYTES).decode(errors="replace"))


def spec_lines(spec: ModelSpec) -> Iterator[str]:
    """What a model takes and gives."""
    yield f"task: {spec.task}; use: {spec.use}"
    for given in spec.inputs:
        size = {"any": "of any size", "as first": "of the size of the image", "none": ""}[given.size]
        optional = "; optional" if given.optional else ""
        values = counted(given.channels, "channel" if given.is_spatial else "value")
        yield f"input {given.name}: {given.kind} {size}".rstrip() + f", {values}{optional}"
    size = f"{spec.output_size[0]}×{spec.output_size[1]} pixels" if spec.output_size else f"scale {spec.scale}"
    yield f"output: image, {counted(spec.out_channels, 'channel')}, {size}"
    if spec.image is not None:
        sizes = (
            f"{spec.minimum_size}×{spec.minimum_size} pixels only; smaller images are padded"
            if spec.fixed_size
            else f"any; without padding, multiples of {spec.size_multiple} from {spec.minimum_size} pixels on"
        )
        yield f"sizes: {sizes}; receptive-field radius {spec.receptive_field} pixels"
    if spec.global_statistics:
        yield "tiles: differ slightly from the whole image, because the network uses means over it"
    if spec.directions:
        yield f"direction: {spec.direction}, of {' and '.join(spec.directions)}"
    if spec.trained_with:
        yield f"trained with features of {' and '.join(spec.trained_with)}"


def suggested(commands: Sequence[str]) -> Iterator[str]:
    """The commands in a column."""
    for number, command in enumerate(commands):
        yield f"{'        or' if number else 'to use it'}: {command}"


def checkpoint_lines(path: Path) -> Iterator[str]:
    """The position of a checkpoint, and how to use it where its run is there."""
    from gan_tasks.runs.folder import read_spec
    from gan_tasks.runs.json_file import read_object

    yield from position_lines(path)
    run = path.resolve().parent.parent
    if content := read_object(run / "config.json"):
        where, file = content.get("task_class"), content.get("task_file")
        options = option_of(str(where or ""), str(file) if file else None)
        yield from suggested(commands_for(path, read_spec(run), options))


def position_lines(path: Path) -> Iterator[str]:
    from gan_tasks.runs.checkpoint import load_state
    from gan_tasks.runs.json_file import described_by

    state = load_state(path)
    with described_by(path / "state.json"):
        position = state["position"]
        shown, skipped = counted(position["images"], "image"), counted(position["skipped"], "step")
        yield f"checkpoint {path.name}: {shown} shown, {skipped} skipped"
        for name, part in state["parts"].items():
            yield f"  {name}: {part['bytes'] / 1e6:,.1f} MB"


def onnx_lines(path: Path, shown: Path) -> Iterator[str]:
    """What is in an exported file. shown: what commands call it: its path, or its name."""
    from dataclasses import asdict

    from gan_tasks.export.onnx.contract import contract_lines
    from gan_tasks.export.onnx.file import read_onnx
    from gan_tasks.export.onnx.metadata import OnnxMetadata

    metadata = OnnxMetadata.of(read_onnx(path))
    yield from spec_lines(metadata.spec)
    yield "contract, for programs that run the file themselves:"
    yield from (f"  {line}" for line in contract_lines(metadata.spec))
    entries = asdict(metadata)
    card, _ = entries.pop("model_card"), entries.pop("spec")
    for name, value in entries.items():
        yield f"{name.replace('_', ' ')}: {value if value != '' else 'not stated'}"
    yield from suggested(commands_for(shown, metadata.spec))
    if card:
        yield from card_lines(card)


def card_lines(card: str) -> Iterator[str]:
    yield ""
    yield from card.rstrip().splitlines()


def weights_lines(path: Path, shown: Path) -> Iterator[str]:
    """The architecture of a public checkpoint; the tensors of any other .safetensors file.

    shown: what commands call it: its path, or its name.
    """
    try:
        from gan_tasks.pretrained.load import load_pretrained

        pretrained = load_pretrained(path)
    except (UserError, ModuleNotFoundError):  # tensors are listed without torch
        if path.suffix.lower() != ".safetensors":
            raise
        yield from tensor_lines(path)
        return
    count = sum(parameter.numel() for parameter in pretrained.network.parameters())
    yield f"{pretrained.architecture.title}: {counted(count, 'parameter')}"
    if pretrained.weights:
        yield f"weights: {pretrained.weights}"
    if usage := pretrained.usage:
        yield f"width: {usage.width}"
        yield from spec_lines(usage.spec)
        yield from suggested(commands_for(shown, usage.spec))


def ready_made_onnx_lines(path: Path) -> Iterator[str]:
    """What a ready-made model of ONNX files takes and gives. path: its name."""
    from gan_tasks.export.load import load_model

    model = load_model(path)
    yield f"runs on {model.runs_on}, from {model.place}"
    yield from spec_lines(model.spec)
    yield from suggested([use_command(path, model.spec)])


def tensor_lines(path: Path) -> Iterator[str]:
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError as error:
        raise UserError(f"reading {path} needs the package safetensors: python -m pip install safetensors") from error
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            shapes = {name: file.get_slice(name).get_shape() for name in names}
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is no whole safetensors file: {error}") from error
    total = sum(product(shape) for shape in shapes.values())
    yield f"{counted(len(names), 'tensor')}, {counted(total, 'number')}"
    for name in names[:8]:
        yield f"  {name[:LONGEST_NAME]} {list(shapes[name])}"
    if len(names) > 8:
        yield f"  … and {len(names) - 8} more"
    for key, value in metadata.items():
        yield f"{key}: {value[:LONGEST_VALUE]}"


def image_lines(path: Path) -> Iterator[str]:
    from gan_tasks.datasets.images import read
    from gan_tasks.export.onnx.contract import colours_text

    picture = read(path)
    height, width, channels = picture.pixels.shape
    yield f"image of {height}×{width} pixels (height × width){colours_text(channels)}"
    yield f"{picture.pixels.dtype}, {'with' if picture.icc_profile else 'without'} ICC profile"
    yield from mark_lines(path)


def video_lines(path: Path) -> Iterator[str]:
    from gan_tasks.export.inference.video.containers import require_av

    require_av()
    from gan_tasks.export.inference.video.reader import probe

    video = probe(path)
    yield f"video of {video.height}×{video.width} pixels (height × width), {counted(video.frame_count, 'frame')}"
    yield f"{float(video.rate):.4g} frames/s on average, {'more than 8' if video.deep else '8'} bits a channel"
    yield from mark_lines(path)


def mark_lines(path: Path) -> Iterator[str]:
    from gan_tasks.export.inference.provenance import read_xmp

    if mark := read_xmp(path):
        model = f" by the model {mark.model}" if mark.model else ""
        made = f"marked as made{model} ({mark.source_type}), " if mark.source_type else ""
        yield f"{made}written with {mark.creator_tool or 'an unnamed program'}"
        if mark.generated_from:
            yield f"generated from {mark.generated_from[:LONGEST_VALUE]}"


def differences(chosen: dict[str, Any], default_config: Any) -> list[str]:
    """`name=value` of the options that differ from the default, nested ones by their own name."""
    from gan_tasks.runs.folder import to_json

    def walk(chosen: dict[str, Any], default: dict[str, Any]) -> Iterator[str]:
        for key, value in chosen.items():
            if isinstance(value, dict):
                yield from walk(value, default.get(key, {}))
            elif value != default.get(key):
                yield f"{key}={json.dumps(value)}"

    return list(walk(chosen, to_json(default_config)))


def product(shape: list[int]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total

"""Command lines that use a model, for people to copy. Words in capitals stand for files: IN, OUT, MASK, DIR."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from gan_tasks.pretrained.shipped import located
from gan_tasks.spec import ModelSpec


def use_command(path: Path, spec: ModelSpec, options: Sequence[str] = ()) -> str:
    """The command that uses a model: `generate` or `apply`.

    options: what the model needs besides, such as `--task-module FILE`.
    """
    if spec.use == "generate":  # `apply` takes no latents
        label = ("--class", "0") if any(each.kind == "label" and not each.optional for each in spec.inputs) else ()
        return command("generate", path, ("OUT", "--seeds", "0-15", "--grid", *label, *options))
    more = {
        "upscale": ("--scale", str(spec.scale)),
        "inpaint": ("--mask", "MASK"),
        "stylize": ("--style", "STYLE"),
    }.get(spec.use, ())
    return command("apply", path, ("IN", "OUT", *more, *options))


def commands_for(path: Path, spec: ModelSpec, options: Sequence[str] = ()) -> list[str]:
    """The commands for a run folder, a checkpoint, an ONNX file, a model's name or a public checkpoint, in order."""
    commands = [use_command(path, spec, options)]
    if located(path).suffix.lower() == ".onnx":
        commands += [command("serve", path, options), command("verify", path, ())]
    else:
        if path.is_dir():
            commands += [command("serve", path, options), command("evaluate", path, ("--data", "DIR", *options))]
        name = path.resolve().name if path.is_dir() else path.resolve().stem
        commands.append(command("export", path, (f"{name}.onnx", *options)))
    return list(dict.fromkeys(commands))


def resume_command(run: Path, options: Sequence[str] = ()) -> str:
    """The command that goes on with a training."""
    return f"gan-tasks {shlex.join(['train', '--resume', str(run), *options])}"


def command(name: str, path: Path, words: Sequence[str]) -> str:
    return f"gan-tasks {shlex.join([name, str(path), *words])}"

"""A public weights file as a dict of tensors: read without running anything that is in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from gan_tasks.datasets.errors import UserError
from gan_tasks.pretrained.files.screening import is_zip, vet_safetensors_file, vet_torch_file

TORCH_SUFFIXES = (".pth", ".pt", ".ckpt")
WRAPPERS = ("params_ema", "params", "model_state_dict", "state_dict", "model", "net", "G", "D")
"""Keys under which projects keep the state dict within the file; the averaged weights first, the generator's before
the discriminator's."""
MAX_WRAPPERS = 3
PREFIXES = ("module.", "netG.")
EXPECTED = f"a dict of tensors (a network's state_dict), bare or under one of {', '.join(WRAPPERS)}"


def read_state_dict(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a `.safetensors`, or a `.pth`, `.pt` or `.ckpt` file, on the CPU, taken out of their wrapper.

    They may be read from the file only as they are used: leave it as it is until then.

    What does not look like plain tensors is refused before it is loaded, see `vetting`. Raises UserError,
    naming the file, where it is missing, damaged, hostile, or holds anything but a dict of tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}: give the path of a .safetensors or .pth file of weights")
    try:
        tensors = to_tensors(load(path))
        claimed_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        if claimed_bytes > path.stat().st_size:
            raise UserError(f"its tensors would fill {claimed_bytes} bytes, more than the file has")
    except UserError as error:
        raise UserError(f"cannot use {path}: {error}") from error
    return tensors


def load(path: Path) -> Any:
    suffix = path.suffix.lower()
    if suffix != ".safetensors" and suffix not in TORCH_SUFFIXES:
        expected = ", ".join((".safetensors", *TORCH_SUFFIXES))
        raise UserError(f"its name ends in {suffix!r}, expected one of {expected}")
    try:
        if suffix == ".safetensors":
            vet_safetensors_file(path)
            return safetensors.torch.load_file(path)
        vet_torch_file(path)
        # Mapped, a large file that is refused later costs no memory; the old format cannot be.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip(path))
    except UserError:
        raise
    except Exception as error:  # Garbled bytes make the readers raise nearly anything.
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"it is damaged, or no weights file at all ({type(error).__name__}: {reason}). Download it again"
        ) from error


def to_tensors(content: Any) -> dict[str, Tensor]:
    for _ in range(MAX_WRAPPERS):
        if isinstance(content, Mapping):
            content = next((content[name] for name in WRAPPERS if isinstance(content.get(name), Mapping)), content)
    if not isinstance(content, Mapping):
        raise UserError(f"it holds a {type(content).__name__}, expected {EXPECTED}")
    if not content:
        raise UserError(f"it holds an empty dict, expected {EXPECTED}")
    for key, value in content.items():
        if not isinstance(key, str):
            raise UserError(f"it has a key of type {type(key).__name__}, expected {EXPECTED}")
        if not isinstance(value, Tensor):
            raise UserError(f"its entry {key!r} is a {type(value).__name__}, expected {EXPECTED}")
    return strip_prefixes({key: value.detach() for key, value in content.items()})


def strip_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefixes that all keys share, in whichever order they come."""
    for prefix in PREFIXES * len(PREFIXES):
        if all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
    return tensors

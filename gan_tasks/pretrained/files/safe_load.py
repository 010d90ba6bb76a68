"""Read a public weights file as a dict of tensors, without running any code from the file."""

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
"""Keys under which projects store the state dict in a file, in the order in which they are tried: averaged weights
come first, and the generator before the discriminator."""
MAX_WRAPPERS = 3
"""Largest number of nested wrappers."""
PREFIXES = ("module.", "netG.")
"""Prefixes that are removed if all keys have them."""
EXPECTED = f"a dict of tensors (a network's state_dict), bare or under one of {', '.join(WRAPPERS)}"


def read_state_dict(path: Path | str) -> dict[str, Tensor]:
    """Read the tensors of a `.safetensors`, `.pth`, `.pt` or `.ckpt` file on the CPU, without their wrapper.

    The tensors may be memory-mapped: do not change the file while they are in use. Anything but plain tensors is
    refused before it is loaded, see `screening`.

    Raises UserError with the name of the file if it is missing, damaged or hostile, or is no dict of tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}: give the path of a .safetensors or .pth file of weights")
    try:
        tensors = to_tensors(load(path))
        claimed_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        if claimed_bytes > path.stat().st_size:
            raise UserError(f"its tensors claim {claimed_bytes} bytes, more than the file has")
    except UserError as error:
        raise UserError(f"cannot use {path}: {error}") from error
    return tensors


def load(path: Path) -> Any:
    """Load the content of the file after its screening. Raises UserError without the file's name."""
    suffix = path.suffix.lower()
    if suffix != ".safetensors" and suffix not in TORCH_SUFFIXES:
        expected = ", ".join((".safetensors", *TORCH_SUFFIXES))
        raise UserError(f"its name ends in {suffix!r}, expected one of {expected}")
    try:
        if suffix == ".safetensors":
            vet_safetensors_file(path)
            return safetensors.torch.load_file(path)
        vet_torch_file(path)
        # With mmap a large file that is refused later needs no memory. The old format does not support it.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip(path))
    except UserError:
        raise
    except Exception as error:  # Damaged files make the readers raise nearly any exception.
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"it is damaged, or not a weights file ({type(error).__name__}: {reason}). Download it again"
        ) from error


def to_tensors(content: Any) -> dict[str, Tensor]:
    """Return the dict of tensors in the content, without wrappers and prefixes. Raises UserError if there is none."""
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
    """Remove the prefixes of PREFIXES that all keys have, in any order."""
    for prefix in PREFIXES * len(PREFIXES):
        if all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
    return tensors

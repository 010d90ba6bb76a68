"""Find the state dicts in the content of a weights file, and remove what training programs wrap around them.

A file holds one state dict or several, in dicts of any names or under prefixes of the keys: `{"params_ema": …}` of
BasicSR, `state_dict` with `generator.…` and `discriminator.…` of Lightning and mmagic, `module.…` of DataParallel.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gan_tasks.datasets.errors import UserError

WRAPPERS = (
    *("params", "model_state_dict", "state_dict", "model", "net", "weights"),
    *("generator", "netG", "net_g", "G", "D"),
)
"""Names under which projects store a state dict, in the order in which they are tried where the names decide."""
MAX_DEPTH = 8
"""Largest number of dicts or prefixes around a state dict."""
MAX_PARTS = 64
"""Largest number of parts of a state dict that are tried as networks."""
AVERAGED = re.compile(r"(?:^|[._])(?:ema|averaged?|avg|swa|shadow)(?:$|[._])|EMA", re.IGNORECASE)
"""Names of averaged weights: params_ema, model_ema, ema_model, G_ema, swa."""
NOT_AVERAGED = re.compile(r"(?:^|[._])online")
"""Names of the raw weights beside averaged ones in the same wrapper: `ema.online_model` of ema-pytorch."""
AVERAGE_COUNTER = "n_averaged"
"""The counter that PyTorch's AveragedModel saves beside its averaged weights."""
COUNTERS = (
    *(AVERAGE_COUNTER, "step", "steps", "step_counter", "num_updates", "decay", "initted"),
    *("total_ops", "total_params"),
)
"""Single numbers beside the weights: those of averages, and those of thop, which counts operations."""
WRAPPING_MODULES = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""Modules that torch.compile and FSDP put around a network or a part of it."""
PREFIXES = ("module.", "netG.")
"""Prefixes that are removed if all keys have them."""
EXPECTED = f"a dict of tensors (a network's state_dict), bare or under a name such as {', '.join(WRAPPERS)}"


@dataclass(frozen=True)
class StateDict:
    """A state dict of a file."""

    name: str
    """Its place in the file, such as `state_dict.generator_ema`; empty if the file holds nothing else."""
    tensors: dict[str, Tensor]
    is_averaged: bool = False
    """Whether the weights are an average over the training."""


def find_state_dicts(content: Any) -> list[StateDict]:
    """Return the state dicts in the content of a file, as nested dicts hold them. Empty dicts are left out.

    Raises UserError if there is none.
    """
    found = list(_walk(content, "", MAX_DEPTH))
    if not found:
        raise UserError(_why_not(content))
    return found


def split_by_prefix(state: StateDict) -> Iterator[StateDict]:
    """Yield the parts of a state dict whose keys begin with the same word, without that word.

    There are none if there are more than MAX_PARTS: then the words number something else than networks.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.tensors.items():
        prefix, _, rest = key.partition(".")
        if rest:
            parts.setdefault(prefix, {})[rest] = tensor
    for prefix, tensors in parts.items() if len(parts) <= MAX_PARTS else ():
        yield _cleaned(_join(state.name, prefix), tensors, state.is_averaged)


def select_by_name(found: list[StateDict]) -> StateDict:
    """Return the state dict that its name selects: averaged weights first, then the order of WRAPPERS.

    Raises UserError if several remain.
    """
    candidates = [state for state in found if state.is_averaged] or found

    def rank(state: StateDict) -> int:
        names = state.name.split(".")
        return min((WRAPPERS.index(name) for name in names if name in WRAPPERS), default=len(WRAPPERS))

    best = min(map(rank, candidates))
    candidates = [state for state in candidates if rank(state) == best]
    if len(candidates) > 1:
        raise UserError(several([state.name for state in candidates]))
    return candidates[0]


def several(names: list[str]) -> str:
    """Return the error message for a file in which several state dicts may be meant."""
    return f"it holds several networks ({', '.join(names)}): save the state_dict of the one you mean in its own file"


def _walk(content: Any, name: str, depth: int) -> Iterator[StateDict]:
    if not isinstance(content, Mapping) or not content:
        return
    if all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()):
        state = _cleaned(name, {key: value.detach() for key, value in content.items()})
        if state.tensors:
            yield state
    elif depth:
        for key, value in content.items():
            if isinstance(key, str):
                yield from _walk(value, _join(name, key), depth - 1)


def _cleaned(name: str, tensors: dict[str, Tensor], is_averaged: bool = False) -> StateDict:
    """Remove counters, wrapping modules and the prefixes that all keys have, in any order."""
    is_averaged = is_averaged or AVERAGE_COUNTER in tensors or bool(AVERAGED.search(name))
    tensors = {key: tensor for key, tensor in tensors.items() if not _is_counter(key, tensor)}
    for module in WRAPPING_MODULES:
        tensors = {key.replace(module, ""): tensor for key, tensor in tensors.items()}
    for prefix in PREFIXES * MAX_DEPTH:
        if all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
    return StateDict(name, tensors, is_averaged and not NOT_AVERAGED.search(name))


def _is_counter(key: str, tensor: Tensor) -> bool:
    return key.rpartition(".")[2] in COUNTERS and tensor.numel() == 1


def _join(name: str, part: str) -> str:
    return f"{name}.{part}" if name else part


def _why_not(content: Any) -> str:
    """Return why the content holds no state dict."""
    for _ in range(MAX_DEPTH):
        if not isinstance(content, Mapping):
            break
        content = next((content[name] for name in WRAPPERS if isinstance(content.get(name), Mapping)), content)
    if not isinstance(content, Mapping):
        return f"it holds a {type(content).__name__}, expected {EXPECTED}"
    for key, value in content.items():
        if not isinstance(key, str):
            return f"it has a key of type {type(key).__name__}, expected {EXPECTED}"
        if not isinstance(value, Tensor):
            return f"its entry {key!r} is a {type(value).__name__}, expected {EXPECTED}"
    return f"it holds an empty dict, expected {EXPECTED}"

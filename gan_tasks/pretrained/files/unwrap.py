"""Find the state dicts in the content of a weights file, and remove what training programs wrap around them.

A file holds one state dict or several, in dicts of any names or under prefixes of the keys: `{"params_ema": …}` of
BasicSR, `state_dict` with `generator.…` and `discriminator.…` of Lightning and mmagic, `module.…` of DataParallel.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from gan_tasks.datasets.errors import UserError
from gan_tasks.pretrained.files.pickles import SkippedObject, code_refused

WRAPPERS = (
    *("params", "model_state_dict", "state_dict", "model", "net", "weights"),
    *("generator", "netG", "net_g", "G", "D"),
)
"""Names under which projects store a state dict, in the order in which they are tried where the names decide."""
MAX_DEPTH = 8
"""Largest number of dicts or prefixes around a state dict."""
MAX_DICTS = 200
"""Largest number of dicts in a file."""
MAX_TENSORS = 10_000
"""Largest number of tensors in the state dicts of a file. A checkpoint of several networks has a few thousand."""
MAX_NAME_LENGTH = 500
"""Largest length of a tensor's name in characters."""
MAX_PARTS = 64
"""Largest number of parts of a state dict that are tried as networks."""
AVERAGED = re.compile(r"(?:^|[._])(?:ema|averaged?|avgG?|swa|shadow)(?:$|[._])|EMA", re.IGNORECASE)
"""Names of averaged weights: params_ema, model_ema, ema_model, G_ema, avgG, swa."""
NOT_AVERAGED = re.compile(r"(?:^|[._])online")
"""Names of the raw weights beside averaged ones in the same wrapper: `ema.online_model` of ema-pytorch."""
UNNAMED_AVERAGES = "shadow_params"
"""The list in which torch_ema saves averaged weights, in the order of the network's parameters."""
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Tensors of a state dict that are no parameters."""
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
VARIANT_MARKER = "pro"
"""An entry beside the weights of Real-CUGAN that marks a variant of the network, with any value: not a weight."""
MEAN_STYLE = "latent_avg"
"""The mean style that programs for StyleGAN2 save beside the generator's weights."""
MARKERS = (VARIANT_MARKER, MEAN_STYLE)
"""Entries beside the weights that belong to each part of them."""
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

    Raises UserError if there is none, and if there are more dicts, tensors or longer names than weights have.
    """
    parts = list(_walk(content, "", MAX_DEPTH, seen=set()))
    found = [_cleaned(name, tensors) for name, tensors in parts if isinstance(tensors, dict)]
    found = [state for state in found if state.tensors]
    for name, tensors in parts:
        if isinstance(tensors, list) and (named := _named_by_order(tensors, found)):
            found.append(StateDict(name, named, is_averaged=True))
    if not found:
        raise UserError(_why_not(content))
    return found


def split_by_prefix(state: StateDict) -> Iterator[StateDict]:
    """Yield the parts of a state dict whose keys begin with the same word, without that word.

    A marker beside them is in each part, because it may say what that part is.
    There are none if there are more than MAX_PARTS: then the words number something else than networks.
    """
    marker = {key: tensor for key, tensor in state.tensors.items() if key in MARKERS}
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.tensors.items():
        prefix, _, rest = key.partition(".")
        if rest:
            parts.setdefault(prefix, dict(marker))[rest] = tensor
    for prefix, tensors in parts.items() if len(parts) <= MAX_PARTS else ():
        part = _cleaned(_join(state.name, prefix), tensors, state.is_averaged)
        raw = parts.get(prefix.removesuffix("_ema"), {})
        named = _named_without_dots(part.tensors, raw) if raw is not tensors else None
        yield part if named is None else replace(part, tensors=named)


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


def _walk(
    content: Any, name: str, depth: int, *, seen: set[int], beside: Mapping[str, Tensor] = MappingProxyType({})
) -> Iterator[tuple[str, dict[str, Tensor] | list[Tensor]]]:
    """Yield the dicts of tensors with their place in the file, and the lists of averages that torch_ema saves.

    seen: identities of the dicts that were found so far; one that stands in several places is taken once.
    beside: markers around the dict that belong to each state dict in it.
    """
    if name.rpartition(".")[2] == UNNAMED_AVERAGES and isinstance(content, list):
        if all(isinstance(value, Tensor) for value in content):
            yield name, [value.detach() for value in content]
        return
    if not isinstance(content, dict) or not content or id(content) in seen:
        return
    seen.add(id(content))
    if len(seen) > MAX_DICTS:
        raise UserError(f"it holds more than {MAX_DICTS} dicts, expected {EXPECTED}")
    entries = dict(dict.items(content))  # an OrderedDict of a file may have an attribute `items` of its own
    if isinstance(entries.get(VARIANT_MARKER), str | int | float):
        entries[VARIANT_MARKER] = torch.empty(0)
    if all(isinstance(key, str) and isinstance(value, Tensor) for key, value in entries.items()):
        check_names(entries)
        yield name, {key: value.detach() for key, value in {**beside, **entries}.items()}
    elif depth:
        mean_style = entries.get(MEAN_STYLE)
        beside = {MEAN_STYLE: mean_style} if isinstance(mean_style, Tensor) else beside
        for key, value in entries.items():
            if isinstance(key, str):
                yield from _walk(value, _join(name, key), depth - 1, seen=seen, beside=beside)


def _named_by_order(averages: list[Tensor], found: list[StateDict]) -> dict[str, Tensor]:
    """Return the tensors of the state dict whose weights are these averages, in order, with the averages in place.

    Returns an empty dict if there is none.
    """
    for state in found:
        names = [key for key in state.tensors if key.rpartition(".")[2] not in STATISTICS]
        if [state.tensors[key].shape for key in names] == [tensor.shape for tensor in averages]:
            return state.tensors | dict(zip(names, averages, strict=True))
    return {}


def _named_without_dots(averages: dict[str, Tensor], raw: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """Return the tensors of a network with the averages in place that LitEma names as `raw` without the dots.

    Returns None if these are no such names.
    """
    names = {key.replace(".", ""): key for key in raw}
    if not averages.keys() <= names.keys():
        return None
    return raw | {names[key]: tensor for key, tensor in averages.items()}


def check_names(tensors: Mapping[str, Tensor]) -> None:
    """Raise UserError for more tensors or longer names than a network has. Nothing loops over them before."""
    if len(tensors) > MAX_TENSORS:
        raise UserError(f"it holds {len(tensors):,} tensors, expected at most {MAX_TENSORS:,}")
    longest = max(map(len, tensors), default=0)
    if longest > MAX_NAME_LENGTH:
        raise UserError(f"it holds a name of {longest:,} characters, expected at most {MAX_NAME_LENGTH}")


def _cleaned(name: str, tensors: dict[str, Tensor], is_averaged: bool = False) -> StateDict:
    """Remove counters, wrapping modules and the prefixes that all keys have, in any order."""
    is_averaged = is_averaged or AVERAGE_COUNTER in tensors or bool(AVERAGED.search(name))
    tensors = {key: tensor for key, tensor in tensors.items() if not _is_counter(key, tensor)}
    for module in WRAPPING_MODULES:
        tensors = {key.replace(module, ""): tensor for key, tensor in tensors.items()}
    for prefix in PREFIXES * MAX_DEPTH:
        if all(key.startswith(prefix) for key in tensors if key not in MARKERS):
            tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
    return StateDict(name, tensors, is_averaged and not NOT_AVERAGED.search(name))


def _is_counter(key: str, tensor: Tensor) -> bool:
    return key.rpartition(".")[2] in COUNTERS and tensor.numel() == 1


def _join(name: str, part: str) -> str:
    return f"{name}.{part}" if name else part


def _why_not(content: Any) -> str:
    """Return why the content holds no state dict."""
    for _ in range(MAX_DEPTH):
        if not isinstance(content, dict):
            break
        content = next((content[name] for name in WRAPPERS if isinstance(dict.get(content, name), dict)), content)
    values = dict.values(content) if isinstance(content, dict) else (content,)
    for value in values:
        if isinstance(value, SkippedObject):
            return code_refused(value.class_name)
    if not isinstance(content, dict):
        return f"it holds a {type(content).__name__}, expected {EXPECTED}"
    for key, value in dict.items(content):
        if not isinstance(key, str):
            return f"it has a key of type {type(key).__name__}, expected {EXPECTED}"
        if not isinstance(value, Tensor):
            return f"its entry {key[:MAX_NAME_LENGTH]!r} is a {type(value).__name__}, expected {EXPECTED}"
    return f"it holds an empty dict, expected {EXPECTED}"

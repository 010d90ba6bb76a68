"""Starting from another model's weights: of the parts that all generators share, whatever fits is taken."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.stylization import Stylizer
from gan_tasks.networks.synthesis.frame import SynthesisGenerator
from gan_tasks.pretrained.files.folders import weights_files
from gan_tasks.pretrained.load import load_pretrained
from gan_tasks.pretrained.stylization.adain import for_our_range
from gan_tasks.runs.folder import load_trained, read_spec
from gan_tasks.tasks.base import Task


def init_from_model(task: Task[Any, Any], source: Path) -> list[str]:
    """Give a built task's generators what fits of another model; says what was taken, a line for each generator.

    source: a run of any task, one of its checkpoints, or a published file or folder. Of a run the best checkpoint
        counts, else the newest, and the average of the weights where one was kept. Where it learned several
        directions, a generator takes from the one of its own name, or from the one that the run is used in.

    A tensor fits by its name and shape. Those of a layer are taken together: where one is there in another shape, the
    whole layer stays as it is, as does all that the source lacks, and layers that are not trained.
    Raises UserError where nothing fits, the source cannot be read, or its layers that are not trained are others.
    """
    lines, anything = [], False
    trained = {name: each for name, each in task.generators.items() if any(True for _ in each.parameters())}
    for name, generator in trained.items():
        found = weights_for(name, source)
        fitting, report = match(generator, found)
        if fitting:
            check_fixed_layers(generator, found, source)
        generator.load_state_dict(fitting, strict=False)
        anything = anything or bool(fitting)
        lines.append(f"{name}: {report}" if len(trained) > 1 else report)
    if not anything:
        raise UserError(
            f"nothing of {source} fits the generator of this training ({'; '.join(lines)}): "
            "give a model of the same kind and width, or choose --generator and --width as there"
        )
    return lines


def weights_for(name: str, source: Path) -> Mapping[str, Tensor]:
    """The source's weights for a generator of this name."""
    if is_published(source):
        network = load_pretrained(source).network
        return weights(for_our_range(network) if isinstance(network, Stylizer) else network, source)
    task, _ = load_trained(source)
    if name in task.directions:
        task, _ = load_trained(source, direction=name)
    generators = task.generators
    return weights(generators[name] if name in generators else next(iter(generators.values())), source)


def trained_with_of(source: Path) -> tuple[str, ...]:
    """Return the pretrained networks that a source was trained with, see `ModelSpec.trained_with`."""
    if is_published(source):
        usage = load_pretrained(source).usage
        return usage.spec.trained_with if usage else ()
    return read_spec(source.parent.parent if (source / "state.json").is_file() else source).trained_with


def is_published(source: Path) -> bool:
    is_of_run = any((source / name).is_file() for name in ("state.json", "config.json"))
    return source.is_file() or (not is_of_run and bool(weights_files(source)))


def weights(network: nn.Module, source: Path) -> Mapping[str, Tensor]:
    if not any(isinstance(part, Generator | SynthesisGenerator) for part in network.modules()):
        raise UserError(f"{source} holds no generator to start from: give a run, or a published generator's file")
    return network.state_dict()


def match(generator: nn.Module, found: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Those of `found` that fit, and how many of each part's tensors they are, with the first obstacle."""
    fixed = fixed_weights(generator)
    own = {key: tensor for key, tensor in generator.state_dict().items() if key not in fixed}
    common = own.keys() & found.keys()
    misfits = {layer_of(key) for key in common if own[key].shape != found[key].shape}
    fitting = {key: found[key] for key in own if key in common and layer_of(key) not in misfits}
    counts = []
    for part in dict.fromkeys(key.split(".")[0] for key in own):  # stem, downs, body …, or coarse and refine
        keys = [key for key in own if key.split(".")[0] == part]
        taken = sum(key in fitting for key in keys)
        obstacle = next((key for key in keys if key in common and own[key].shape != found[key].shape), None)
        why = f" ({obstacle}: {sizes(found[obstacle])} → {sizes(own[obstacle])})" if obstacle else ""
        counts.append(f"{part} {taken} of {len(keys)} tensors{why}")
    return fitting, ", ".join(counts)


def fixed_weights(generator: nn.Module) -> dict[str, Tensor]:
    """Return the weights that are not trained, such as those of a pretrained encoder."""
    return {name: weight for name, weight in generator.named_parameters() if not weight.requires_grad}


def check_fixed_layers(generator: nn.Module, found: Mapping[str, Tensor], source: Path) -> None:
    """Raise UserError if the source has other weights where the generator's are not trained.

    Its trained layers belong to them. Rounding differences are allowed: the weights may have been scaled elsewhere.
    """
    for key, weight in fixed_weights(generator).items():
        other = found.get(key)
        if other is None or other.shape != weight.shape or not torch.allclose(other, weight, rtol=1e-3, atol=1e-4):
            raise UserError(
                f"{source} was trained with another pretrained network than this training uses ({key} differs): "
                "start from a model that was trained with the same one, or choose that network for this training"
            )


def layer_of(key: str) -> str:
    return key.rpartition(".")[0]


def sizes(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape))

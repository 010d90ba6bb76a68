"""Starting from another model's weights: of the parts that all generators share, whatever fits is taken."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.backbone import Generator
from gan_tasks.pretrained.load import load_pretrained
from gan_tasks.runs.folder import load_trained
from gan_tasks.tasks.base import Task


def init_from_model(task: Task[Any, Any], source: Path) -> list[str]:
    """Give a built task's generators what fits of another model; says what was taken, a line for each generator.

    source: a run of any task, one of its checkpoints, or a published file. Of a run the best checkpoint counts, else
        the newest, and the average of the weights where one was kept. Where it learned several directions, a
        generator takes from the one of its own name, or from the one that the run is used in.

    A tensor fits by its name and shape. Those of a layer are taken together: where one is there in another shape, the
    whole layer stays as it is, as does all that the source lacks.
    Raises UserError where nothing fits, or the source cannot be read.
    """
    lines, anything = [], False
    for name, generator in task.generators.items():
        fitting, report = match(generator, weights_for(name, source))
        generator.load_state_dict(fitting, strict=False)
        anything = anything or bool(fitting)
        lines.append(f"{name}: {report}" if len(task.generators) > 1 else report)
    if not anything:
        raise UserError(
            f"nothing of {source} fits the generator of this training ({'; '.join(lines)}): "
            "give a model of the same kind and width, or choose --generator and --width as there"
        )
    return lines


def weights_for(name: str, source: Path) -> Mapping[str, Tensor]:
    """The source's weights for a generator of this name."""
    if source.is_file():
        return weights(load_pretrained(source).network, source)
    task, _ = load_trained(source)
    if name in task.directions:
        task, _ = load_trained(source, direction=name)
    generators = task.generators
    return weights(generators[name] if name in generators else next(iter(generators.values())), source)


def weights(network: nn.Module, source: Path) -> Mapping[str, Tensor]:
    if not any(isinstance(part, Generator) for part in network.modules()):
        raise UserError(f"{source} holds no generator to start from: give a run, or a published generator's file")
    return network.state_dict()


def match(generator: nn.Module, found: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Those of `found` that fit, and how many of each part's tensors they are, with the first obstacle."""
    own = generator.state_dict()
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


def layer_of(key: str) -> str:
    return key.rpartition(".")[0]


def sizes(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape))

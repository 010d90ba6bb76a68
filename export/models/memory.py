"""Count the memory that a network needs on the meta device, where nothing is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Context in which the memory of new tensors is counted; `peak` is the most bytes alive at one time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak: int = 0
        self._alive: dict[StorageWeakRef, int] = {}

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        self._alive = {storage: size for storage, size in self._alive.items() if not storage.expired()}
        for tensor in tree_leaves(outputs):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self._alive[StorageWeakRef(storage)] = storage.nbytes()
        self.peak = max(self.peak, sum(self._alive.values()))
        return outputs


def peak_bytes(network: nn.Module, inputs: Sequence[Tensor]) -> int:
    """Return the most bytes that features take at one time, without the inputs (on the meta device) and without the
    workspace of convolutions."""
    with torch.inference_mode():
        weights = on_meta(network)
        live = LiveBytes()
        with live:
            functional_call(network, weights, tuple(inputs))
    return live.peak


def on_meta(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.to("meta") for name, tensor in network.state_dict().items()}

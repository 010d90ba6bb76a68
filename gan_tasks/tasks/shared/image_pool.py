"""A pool of generated images, which passes images of earlier steps to the discriminator."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gan_tasks.tasks.base import Step


class ImagePool:
    """Keep up to `size` images. Each new image is exchanged for an older one with probability 1/2.

    Until the pool is full, images pass unchanged (Shrivastava et al. 2017, https://arxiv.org/abs/1612.07828, as in
    CycleGAN). Size 0 keeps no images.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: list[Tensor] = []

    def exchange(self, images: Tensor, step: Step) -> Tensor:
        """Return as many images as given, some of them from earlier steps. Images are N×C×H×W and detached."""
        if not self.size:
            return images
        draws = step.random(len(images), 2, device=torch.device("cpu")).tolist()
        chosen = []
        for image, (coin, place) in zip(images, draws, strict=True):
            picked = image
            if len(self.images) < self.size:
                self.images.append(image.clone())
            elif coin < 0.5:
                index = int(place * self.size)
                older = self.images[index]
                if older.shape == image.shape:
                    picked = older.to(image)
                    self.images[index] = image.clone()
            chosen.append(picked)
        return torch.stack(chosen)

    def state(self, name: str) -> dict[str, Tensor]:
        return {f"{name}/{index}": image for index, image in enumerate(self.images)}

    def load_state(self, name: str, state: Mapping[str, Tensor]) -> None:
        count = sum(key.startswith(f"{name}/") for key in state)
        self.images = [state[f"{name}/{index}"].clone() for index in range(count)]

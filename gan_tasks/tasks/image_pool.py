"""A pool of generated images: the discriminator also sees what the generators made in earlier steps."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gan_tasks.tasks.base import Step


class ImagePool:
    """Keeps up to `size` images; each image that comes is exchanged for an older one half of the time.

    While the pool fills up, images pass unchanged (Shrivastava et al. 2017, as in CycleGAN). Size 0 keeps none.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: list[Tensor] = []

    def exchange(self, images: Tensor, step: Step) -> Tensor:
        """N×C×H×W detached images → as many, some of them from earlier steps."""
        if not self.size:
            return images
        draws = step.random(len(images), 2, device=torch.device("cpu")).tolist()
        chosen = []
        for image, (coin, place) in zip(images, draws, strict=True):
            picked = image
            if len(self.images) < self.size:
                if image.isfinite().all():  # a step that will be skipped leaves nothing behind
                    self.images.append(image.clone())
            elif coin < 0.5:
                index = int(place * self.size)
                older = self.images[index]
                if older.shape == image.shape and image.isfinite().all():
                    picked = older.to(image)
                    self.images[index] = image.clone()
            chosen.append(picked)
        return torch.stack(chosen)

    def state(self, name: str) -> dict[str, Tensor]:
        return {f"{name}/{index}": image for index, image in enumerate(self.images)}

    def load_state(self, name: str, state: Mapping[str, Tensor]) -> None:
        count = sum(key.startswith(f"{name}/") for key in state)
        self.images = [state[f"{name}/{index}"].clone() for index in range(count)]

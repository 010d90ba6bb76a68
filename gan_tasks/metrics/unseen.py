"""Which feature network may compare sets of images: one that no model was trained with.

A loss or a discriminator on pretrained features makes a model good by exactly these features, and by those of similar
networks. A distance in them would say little about its images.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gan_tasks.datasets.errors import enumerated

Training = Mapping[str, Collection[str]]
"""The pretrained networks that each model was trained with (`ModelSpec.trained_with`), by the name of the model."""


def trained_with(network: str, training: Training) -> list[str]:
    """Return the names of the models that were trained with a feature network, or with one of its family.

    vgg16 and vgg19 are one family. A name may go on after a space, such as that of unusual weights.
    """
    return [name for name, used in training.items() if family(network) in map(family, used)]


def family(network: str) -> str:
    name = network.partition(" ")[0]
    return "vgg" if name.startswith("vgg") else name


def first_unseen(networks: Collection[str], training: Training) -> str | None:
    """Return the first of the networks that no model was trained with, or None."""
    return next((network for network in networks if not trained_with(network, training)), None)


def reason(network: str, training: Training) -> str:
    """Say why a network does not compare the models: "X was trained with its features, which would favour it"."""
    models = trained_with(network, training)
    are = ("was", "it") if len(models) == 1 else ("were", "them")
    return f"{enumerated(models)} {are[0]} trained with features of {network}, which would favour {are[1]}"

"""Which of a task's options `--help` shows, and under which titles.

`--help-all` shows every option.
"""

from __future__ import annotations

from gan_tasks.apps.cli.options import Option

COMMON = frozenset(
    (
        *("data", "out", "preset", "config", "init_from"),
        *("generator", "network", "encoder", "encoder_weights", "width", "blocks", "residual", "sketch", "latent"),
        *("gan", "adversarial", "d_augment", "l1", "cycle", "nce", "identity", "reconstruction", "perceptual"),
        *("content", "style"),
        *("batch_size", "lr", "ema_halflife_images", "epochs", "decay_epochs", "adversarial_epochs"),
        *("direction", "layout", "scale", "degradation", "masks", "mask_kinds", "classes"),
        *("load_size", "crop_size", "flip"),
        *("seed", "device", "workers", "max_steps", "best_by"),
    )
)
"""The options that people use most; a task shows those of them that it has."""

TITLES_OF_FIELDS = {
    "discriminator": ("discriminator", "local_discriminator"),
    "losses": (
        "gan",
        "l1",
        "cycle",
        "identity",
        "feature_matching",
        "mask_weight",
        "boundary_weight",
        "content",
        "style",
    ),
    "contrastive loss": ("flip_equivariance",),
    "adversarial objective": ("auto_gamma", "gamma_burn_in_images"),
    "learning-rate schedule": ("adversarial_epochs", "adversarial_lr"),
    "data": ("direction",),
}
"""Titles of single options that their config has beside others of another subject."""
TITLES_OF_PREFIXES = {
    "d_": "discriminator",
    "pool_": "discriminator",
    "reconstruction": "losses",
    "nce": "contrastive loss",
    "style_": "styles",
    "mapping_": "styles",
}
TITLES_OF_CONFIGS = {
    "adversarial": "adversarial objective",
    "energy": "autoencoder as discriminator",
    "regularisation": "styles",
    "perceptual": "perceptual loss",
    "optimisation": "optimizer",
    "schedule": "learning-rate schedule",
    "data": "data",
    "framing": "augmentation",
    "drawn_masks": "drawn masks",
    "loop": "run",
    "task": "model",
}
"""Titles of the options of a nested config, by the field that holds it."""


def group(option: Option) -> str:
    """The title under which the help shows an option of `gan-tasks train` and `gan-tasks check`."""
    *parents, field = option.route
    if not parents:
        return "arguments" if option.positional else "options"
    if parents == ["task"]:
        for title, fields in TITLES_OF_FIELDS.items():
            if field in fields:
                return title
        for prefix, title in TITLES_OF_PREFIXES.items():
            if field.startswith(prefix):
                return title
    return TITLES_OF_CONFIGS.get(parents[-1], parents[-1].replace("_", " "))

"""The options of the task synthesis, and its presets."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, Literal

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.ranges import Checked, Count, Fraction, PositiveCount, Range, Side, Width
from gan_tasks.datasets.unlabelled import UnlabelledConfig
from gan_tasks.losses.energy import EnergyConfig
from gan_tasks.losses.functional import AdversarialConfig
from gan_tasks.losses.path_length import PathLengthConfig
from gan_tasks.networks.synthesis.build import HAS_STYLES, NetworkName
from gan_tasks.networks.synthesis.dcgan import DiscriminatorNorm
from gan_tasks.optim.lr_schedules import ScheduleConfig
from gan_tasks.optim.optimizers import OptimisationConfig


@dataclass(frozen=True)
class SynthesisConfig(Checked):
    """Options of synthesis. The defaults are for few images, and for a CPU or a small GPU."""

    network: NetworkName = "dcgan"
    """Architecture of generator and discriminator: dcgan, pggan, msg (MSG-GAN), stylegan2, stylegan3-t
    (translation-equivariant), stylegan3-r (also rotation-equivariant), or r3gan (residual, without normalisation)."""
    latent: Width = 64
    """Length of the latent vectors."""
    width: Width = 256
    """Channels of the smallest features. Larger features have fewer, as in the paper of the architecture."""
    style_width: Width = 512
    """Length of the styles of stylegan2 and stylegan3."""
    mapping_layers: Annotated[int, Range(1, 64)] = 8
    """Number of layers of stylegan2 and stylegan3 that map a latent to a style."""
    attention: tuple[Side, ...] = ()
    """Heights in px of the features that get self-attention, in generator and discriminator (SAGAN: 32)."""
    discriminator: Literal["own", "projected"] = "own"
    """Type of discriminator: own is that of the architecture, or an autoencoder with --energy; projected classifies
    fixed random mixtures of four layers of EfficientNet-Lite0."""
    d_width: Width | None = None
    """Channels of the discriminator's smallest features; without it, they are --width."""
    d_norm: DiscriminatorNorm = "none"
    """Normalisation in dcgan's discriminator. Use layer or none with a gradient penalty."""
    d_group: PositiveCount = 4
    """Group size, in images, of the minibatch standard deviation in stylegan2's and stylegan3's discriminators."""
    d_steps: PositiveCount = 1
    """Updates of the discriminator for each update of the generator (Wasserstein GANs: 5)."""
    growth: Fraction = 0.0
    """Share of the training in which pggan grows from 4×4 pixels to the whole size; 0 = it does not grow."""
    auto_gamma: tuple[Literal["r1", "r2"], ...] = ("r1", "r2")
    """Gradient penalties whose weight γ is chosen from the sizes of image and batch where --r1 or --r2 is 0, unless
    there is an --energy or a --gradient-penalty. With nothing behind --auto-gamma, 0 turns them off."""
    gamma_burn_in_images: Count = 0
    """Number of images over which γ falls to a tenth, as in R3GAN; 0 keeps γ."""
    style_mixing: Fraction = 0.0
    """Share of images whose larger features have the style of another latent, for networks with styles."""
    adversarial: AdversarialConfig = AdversarialConfig(
        adversarial="relativistic", r_interval=4, d_augment=("colour", "translation", "cutout")
    )
    energy: EnergyConfig = EnergyConfig()
    regularisation: PathLengthConfig = PathLengthConfig()
    optimisation: OptimisationConfig = OptimisationConfig(batch_size=16, betas=(0.0, 0.99), ema_halflife_images=5_000)
    schedule: ScheduleConfig = ScheduleConfig(epochs=400, decay_epochs=100)
    data: UnlabelledConfig = UnlabelledConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.growth and self.network != "pggan":
            raise UserError(f"growth is {self.growth}, and {self.network} does not grow: give --network pggan")
        for name, value in (("style_mixing", self.style_mixing), ("path_length", self.regularisation.path_length)):
            if value and not self.has_styles:
                raise UserError(
                    f"{name} is {value}, and {self.network} has no styles: give --network stylegan2, or leave it out"
                )
        if self.discriminator == "projected" and (self.data.classes or self.energy.energy != "none"):
            other = "--classes" if self.data.classes else "--energy"
            raise UserError(f"the projected discriminator does not work with {other}: leave out one of the two")

    @property
    def chosen_penalties(self) -> tuple[str, ...]:
        """The gradient penalties whose weight is chosen, unless it is given."""
        has_another = self.energy.energy != "none" or self.adversarial.gradient_penalty
        return () if has_another else self.auto_gamma

    @property
    def has_styles(self) -> bool:
        """Whether a mapping network turns latents into styles."""
        return self.network in HAS_STYLES

    @property
    def compares_all_sizes(self) -> bool:
        """Whether the discriminator gets the images of all stages."""
        return self.network == "msg" and self.discriminator == "own" and self.energy.energy == "none"


def ema_halflife(decay: float, batch_size: int) -> float:
    """Return the half-life in images of an average with a decay a step."""
    return round(batch_size * math.log(0.5) / math.log(decay))


DCGAN = SynthesisConfig(
    latent=100,
    width=512,
    d_norm="batch",
    auto_gamma=(),
    adversarial=AdversarialConfig(adversarial="non-saturating"),
    optimisation=OptimisationConfig(batch_size=128),
    schedule=ScheduleConfig(schedule="constant", epochs=25),
)
WGAN = replace(
    DCGAN,
    d_steps=5,
    adversarial=AdversarialConfig(adversarial="wasserstein", clip_weights=0.01),
    # RMSprop with its decay of 0.99 is Adam without momentum, after the first hundreds of steps.
    optimisation=OptimisationConfig(batch_size=64, lr=5e-5, betas=(0.0, 0.99)),
)
WGAN_GP = replace(
    DCGAN,
    d_norm="layer",
    d_steps=5,
    adversarial=AdversarialConfig(adversarial="wasserstein", gradient_penalty=10.0),
    optimisation=OptimisationConfig(batch_size=64, lr=1e-4, betas=(0.0, 0.9)),
)
EBGAN = replace(DCGAN, energy=EnergyConfig(energy="ebgan"), optimisation=OptimisationConfig(batch_size=64))
BEGAN = replace(
    DCGAN,
    latent=64,
    d_width=256,
    energy=EnergyConfig(energy="began"),
    optimisation=OptimisationConfig(batch_size=16, lr=1e-4),
)
"""With DCGAN's generator."""
PGGAN = SynthesisConfig(
    network="pggan",
    latent=512,
    width=512,
    growth=0.8,
    auto_gamma=(),
    adversarial=AdversarialConfig(adversarial="wasserstein", gradient_penalty=10.0, drift=0.001),
    optimisation=OptimisationConfig(
        batch_size=16, lr=1e-3, betas=(0.0, 0.99), ema_halflife_images=ema_halflife(0.999, 16)
    ),
    schedule=ScheduleConfig(schedule="constant", epochs=400),
)
MSG = replace(PGGAN, network="msg", growth=0.0, optimisation=replace(PGGAN.optimisation, lr=3e-3))
STYLEGAN2 = SynthesisConfig(
    network="stylegan2",
    latent=512,
    width=512,
    auto_gamma=("r1",),
    style_mixing=0.9,
    adversarial=AdversarialConfig(adversarial="non-saturating", r_interval=16),
    regularisation=PathLengthConfig(path_length=2.0, path_length_interval=4),
    optimisation=OptimisationConfig(batch_size=32, lr=2e-3, betas=(0.0, 0.99), ema_halflife_images=10_000),
    schedule=ScheduleConfig(schedule="constant", epochs=400),
)
STYLEGAN3 = replace(
    STYLEGAN2,
    network="stylegan3-t",
    mapping_layers=2,
    style_mixing=0.0,
    regularisation=PathLengthConfig(),
    adversarial=replace(
        STYLEGAN2.adversarial,
        d_augment=("flip", "geometry", "translation", "colour"),
        d_augment_adaptive=True,
    ),
    optimisation=replace(STYLEGAN2.optimisation, lr=2.5e-3, lr_d=2e-3),
)
R3GAN = SynthesisConfig(
    network="r3gan",
    width=768,
    gamma_burn_in_images=20_000_000,
    adversarial=AdversarialConfig(adversarial="relativistic"),
    optimisation=OptimisationConfig(batch_size=256, lr=5e-5, betas=(0.0, 0.99), ema_halflife_images=500_000),
    schedule=ScheduleConfig(schedule="constant", epochs=400),
)
PRESETS = MappingProxyType(
    {
        "dcgan": DCGAN,
        "wgan": WGAN,
        "wgan-gp": WGAN_GP,
        "ebgan": EBGAN,
        "began": BEGAN,
        "pggan": PGGAN,
        "msg": MSG,
        "stylegan2": STYLEGAN2,
        "stylegan3": STYLEGAN3,
        "r3gan": R3GAN,
    }
)

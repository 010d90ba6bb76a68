"""How published discriminators answer."""

from torch import Tensor, nn

from gan_tasks.networks.discriminators import PatchDiscriminator, SNPatchDiscriminator, UNetDiscriminator


class PatchLogits(nn.Module):
    """A discriminator that returns the logits only, as the published ones do.

    It maps N×C×H×W to N×1×h×w (N×K×h×w for SN-PatchGAN).
    """

    def __init__(self, discriminator: PatchDiscriminator | UNetDiscriminator | SNPatchDiscriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, x: Tensor) -> Tensor:
        features: list[Tensor] = self.discriminator(x)
        return features[-1]

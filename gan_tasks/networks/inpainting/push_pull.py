"""Smooth fill: fill the masked region smoothly with convolutions alone, as the input of an inpainting network.

The result is close to the harmonic fill (`metrics/baselines.py`), which solves Laplace's equation.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.networks.blocks import autocasts

HALVINGS = 3
"""How often the resolution is halved first."""
DILATIONS = (1, 2, 4, 8, 16)
"""Dilations of the kernels at the lowest resolution. With the halvings the receptive-field radius is 250 px."""
REFINED_SWEEPS, COARSE_SWEEPS = 2, 4
"""Number of Jacobi sweeps at each of the higher resolutions, and for each dilation at the lowest resolution.

A sweep sets each masked pixel to the mean of its four neighbours.
"""


class SmoothFill(nn.Module):
    """Fill the masked region of an image smoothly, image N×C×H×W and mask N×1×H×W (1 = masked) → image N×C×H×W.

    H and W must be multiples of 8. The values may have any range.

    The method is pull-push interpolation (Gortler et al. 1996, https://doi.org/10.1145/237170.237200). A few sweeps
    of Jacobi's method for Laplace's equation follow each step, as in a multigrid solver. On photographs the result is
    0.15 dB from the exact solution, in 1/100 of the time.

    Masked pixels that are farther than the receptive-field radius from all unmasked ones get the mean of all unmasked
    pixels. If everything is masked, the result is 0.
    """

    average: Tensor
    neighbours: Tensor

    def __init__(self) -> None:
        super().__init__()
        average = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16
        neighbours = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]) / 4
        self.register_buffer("average", average, persistent=False)
        self.register_buffer("neighbours", neighbours, persistent=False)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        # In bf16 the sums over wide regions would be rounded to visible steps.
        if autocasts(image):
            with torch.autocast(image.device.type, enabled=False):
                return self.fill(image.float(), mask.float())
        return self.fill(image, mask)

    def fill(self, image: Tensor, mask: Tensor) -> Tensor:
        """As `forward`, in the precision of the inputs."""
        levels = [(image * (1 - mask), 1 - mask)]
        for _ in range(HALVINGS):
            values, known = levels[-1]
            levels.append(mean_of_known(functional.avg_pool2d(values * known, 2), functional.avg_pool2d(known, 2)))
        for dilation in DILATIONS:
            values, known = levels[-1]
            sums, weights = (
                filter_3x3(functional.pad(x, [dilation] * 4), self.average, dilation) for x in (values * known, known)
            )
            levels.append(mean_of_known(sums, weights))

        values, known = levels.pop()
        mean = (values * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp_min(1e-6)
        filled = torch.lerp(mean, values, known)
        for dilation in reversed(DILATIONS):
            filled = self.relax(filled, *levels.pop(), dilation, COARSE_SWEEPS)
        for values, known in reversed(levels):
            filled = functional.interpolate(filled, scale_factor=2.0, mode="bilinear", align_corners=False)
            filled = self.relax(filled, values, known, 1, REFINED_SWEEPS)
        return filled

    def relax(self, filled: Tensor, values: Tensor, known: Tensor, dilation: int, sweeps: int) -> Tensor:
        """Run the Jacobi sweeps on one level, N×C×h×w → the same shape; known values stay as they are.

        known: N×1×h×w in [0, 1], how far `values` are known.
        """
        filled = torch.lerp(filled, values, known)
        for _ in range(sweeps):
            around = filter_3x3(functional.pad(filled, [dilation] * 4, mode="replicate"), self.neighbours, dilation)
            filled = torch.lerp(around, values, known)
        return filled


def filter_3x3(x: Tensor, kernel: Tensor, dilation: int) -> Tensor:
    """Filter each channel with the same 3×3 kernel, N×C×(H + 2·dilation)×(W + 2·dilation) → N×C×H×W."""
    channels = x.shape[1]
    return functional.conv2d(x, kernel.to(x.dtype).expand(channels, 1, 3, 3), dilation=dilation, groups=channels)


def mean_of_known(sums: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Divide weighted sums N×C×H×W by their weights N×1×H×W in [0, 1]. Return the means, and how far they are known.

    A mean counts as fully known (1) if at least a quarter of its pixels were known.
    """
    return sums / weights.clamp_min(1e-6), (4 * weights).clamp_max(1.0)

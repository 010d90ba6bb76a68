"""Real-ESRGAN's second-order degradation of a batch of tensors on their device; `../real_esrgan.py` is for arrays.

The same `Degradation` gives the same result in both, with two exceptions: each device draws its own noise from the
seed, and JPEG rounding may differ by the last bit. https://arxiv.org/abs/2107.10833
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_tasks.datasets.degradations.kernels import LARGEST_KERNEL, Blur
from gan_tasks.datasets.degradations.on_device import jpeg
from gan_tasks.datasets.degradations.on_device.filters import correlate
from gan_tasks.datasets.degradations.real_esrgan import Degradation, Interpolation, Noise, Size, area_weights, sizes


@torch.no_grad()
def degrade_batch(high: Tensor, degradations: Sequence[Degradation], scale: int) -> Tensor:
    """Degrade N×3×H×W in [0, 1] to N×3×(H // scale)×(W // scale) float32 in [0, 1], in 8-bit steps.

    degradations: one for each image. If `scale` does not divide H or W, the last rows or columns are ignored.
    The computation uses float32, also under autocast. Real-ESRGAN degrades sharpened images (`unsharp_mask.py`).

    Raises ValueError for images smaller than scale×scale, and if the number of degradations is not N.
    """
    if len(high) != len(degradations):
        raise ValueError(
            f"got {len(high)} images and {len(degradations)} degradations; give one degradation for each image"
        )
    each_sizes = [sizes((high.shape[-2], high.shape[-1]), each, scale) for each in degradations]
    height, width = each_sizes[0][-1]
    with torch.autocast(high.device.type, enabled=False):
        whole = high[..., : height * scale, : width * scale].float()
        blurred = _filtered(whole, [each.first.blur for each in degradations])
        return torch.cat(
            [_after_first_blur(*one) for one in zip(blurred.split(1), degradations, each_sizes, strict=True)]
        )


def _after_first_blur(low: Tensor, degradation: Degradation, sizes: tuple[Size, Size, Size]) -> Tensor:
    """Apply the remaining steps to one 1×3×H×W image: from here on, sizes differ between the images of a batch."""
    first, second = degradation.first, degradation.second
    size_1, size_2, size = sizes

    low = _noisy(_resized(low, size_1, first.interpolation), first.noise)
    low = _compressed(low, first.jpeg_quality)

    low = _resized(_filtered(low, [second.blur]), size_2, second.interpolation)
    low = _noisy(low, second.noise)

    if not degradation.jpeg_last:
        low = _compressed(low, second.jpeg_quality)
    low = _filtered(_resized(low, size, degradation.interpolation), [degradation.sinc])
    if degradation.jpeg_last:
        low = _compressed(low, second.jpeg_quality)
    return _to_8_bits(low)


def _filtered(images: Tensor, blurs: Sequence[Blur | None]) -> Tensor:
    if all(blur is None for blur in blurs):
        return images
    kernels = torch.zeros(len(blurs), LARGEST_KERNEL, LARGEST_KERNEL)
    for padded, blur in zip(kernels, blurs, strict=True):
        kernel = torch.ones(1, 1) if blur is None else torch.from_numpy(blur.kernel())
        margin = (LARGEST_KERNEL - len(kernel)) // 2
        padded[margin : LARGEST_KERNEL - margin, margin : LARGEST_KERNEL - margin] = kernel
    return correlate(images, kernels.to(images.device, non_blocking=True))


def _resized(images: Tensor, size: Size, interpolation: Interpolation) -> Tensor:
    if images.shape[-2:] == size:
        return images
    if interpolation == "area":
        # Torch's area mode averages whole pixels; OpenCV weights a pixel by its covered part.
        rows, columns = (
            torch.from_numpy(area_weights(old, new)).to(images.device, non_blocking=True)
            for old, new in zip(images.shape[-2:], size, strict=True)
        )
        return rows @ images @ columns.mT
    return F.interpolate(images, size, mode=interpolation)


def _noisy(images: Tensor, noise: Noise | None) -> Tensor:
    if noise is None:
        return images
    generator = torch.Generator(images.device).manual_seed(noise.seed)
    if noise.kind == "gaussian":
        shape = (len(images), 1 if noise.gray else 3, *images.shape[-2:])
        added = torch.randn(shape, generator=generator, device=images.device) / 255
    else:
        added = _shot_noise(_luma(images) if noise.gray else images, generator)
    return (images + added * noise.strength).clamp(0, 1)


def _shot_noise(image: Tensor, generator: torch.Generator) -> Tensor:
    """Draw Poisson noise. Its scale depends on the number of grey levels that the image uses, as in Real-ESRGAN."""
    light = _to_8_bits(image)
    level = (light * 255).round().long().flatten()
    is_used = torch.zeros(256, device=image.device).scatter_(0, level, 1.0)
    photons = torch.exp2(torch.log2(is_used.sum()).ceil())  # a tensor, so that the CPU does not wait for the GPU
    return torch.poisson(light * photons, generator=generator) / photons - light


def _luma(images: Tensor) -> Tensor:
    """Return N×1×H×W luma by ITU-R BT.601."""
    weights = torch.tensor([0.299, 0.587, 0.114]).to(images, non_blocking=True)
    return torch.einsum("c,nchw->nhw", weights, images).unsqueeze(1)


def _compressed(images: Tensor, quality: int | None) -> Tensor:
    return images if quality is None else jpeg.compress(images, quality)


def _to_8_bits(images: Tensor) -> Tensor:
    return (images.clamp(0, 1) * 255).round() / 255

"""Inpainting networks: numbers of parameters, image sizes, and which inputs have an effect."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.blocks import GatedConv
from gan_tasks.networks.discriminators import MultiScaleDiscriminator, SNPatchDiscriminator
from gan_tasks.networks.inpainting.context_encoder import context_encoder
from gan_tasks.networks.inpainting.deepfill import deepfill_v1, deepfill_v2
from gan_tasks.networks.inpainting.inpainter import Inpainter, as_residual_of_smooth_fill
from gan_tasks.networks.inpainting.lama import fourier_resnet, lama
from gan_tasks.networks.inpainting.push_pull import SmoothFill
from gan_tasks.networks.inpainting.unet import unet

SMALL: dict[str, Callable[[], Inpainter]] = {
    "v2": lambda: deepfill_v2(width=8),
    "v2-tensorflow": lambda: deepfill_v2(width=8, tensorflow=True),
    "v1": lambda: deepfill_v1(width=8),
    "context": lambda: context_encoder(width=4, bottleneck=8),
    "lama": lambda: lama(width=4, blocks=1),
    "unet": lambda: unet(width=4),
    "v2-residual": lambda: as_residual_of_smooth_fill(deepfill_v2(width=8), 3),
    "v1-residual-downscaled": lambda: as_residual_of_smooth_fill(deepfill_v1(width=8), 3, residual_downscale=2),
    "lama-residual": lambda: as_residual_of_smooth_fill(lama(width=4, blocks=1), 3, residual_downscale=2),
    "context-residual": lambda: as_residual_of_smooth_fill(context_encoder(width=4, bottleneck=8), 3),
}


def small(name: str) -> Inpainter:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SMALL[name]().eval()
        for part in (network.coarse, network.refine) if network.start is not None else ():
            if part is not None:  # a residual starts with zero weights
                nn.init.normal_(next(iter(part.head.parameters())), 0, 0.05)
        if (
            "context" in name or "lama" in name
        ):  # its norms are in eval mode and do not compensate for the small initial weights
            for weight in (parameter for parameter in network.parameters() if parameter.ndim > 1):
                weight.data.normal_(0, 1.5 * weight[0].numel() ** -0.5)
        return network


def draw(batch: int, height: int, width: int, channels: int = 3) -> tuple[Tensor, Tensor]:
    """Return images and masks of masked blocks of 8 pixels; each sample has its own."""
    random = torch.Generator().manual_seed(1)
    blocks = (torch.rand(batch, 1, -(-height // 8), -(-width // 8), generator=random) > 0.7).float()
    mask = blocks.repeat_interleave(8, 2).repeat_interleave(8, 3)[..., :height, :width]
    return torch.rand(batch, channels, height, width, generator=random) * 2 - 1, mask


def big_lama() -> nn.Module:
    """Big LaMa, of 51 million parameters in the paper."""
    widths = [64, 128, 256, 512]
    return fourier_resnet(4, 3, widths=widths, blocks=18, of_global=384, last=nn.Sigmoid())


@pytest.mark.parametrize(
    ("make", "parameters"),
    [(deepfill_v2, 4_052_478), (deepfill_v1, 3_598_342), (big_lama, 50_975_875), (SNPatchDiscriminator, 5_946_816)],
)
def test_number_of_parameters_equals_the_published_one(make: Callable[[], nn.Module], parameters: int) -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in make().parameters()) == parameters


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (8, 16), (37, 50), (130, 9)])
def test_any_size(name: str, height: int, width: int) -> None:
    image, mask = draw(2, height, width)
    network = small(name)
    stages = network.stages(image, mask)
    assert [stage.shape for stage in stages] == [image.shape] * (1 if network.refine is None else 2)
    assert all(stage.abs().max() <= 1 for stage in stages)
    assert torch.equal(network(image, mask), stages[-1])


@pytest.mark.parametrize("name", SMALL)
def test_a_batch_with_different_masks_is_its_samples_one_by_one(name: str) -> None:
    image, mask = draw(3, 40, 56)
    image = image[:1].repeat(3, 1, 1, 1)
    network = small(name)
    together = network(image, mask)
    assert (together[0] - together[1]).abs().max() > 1e-4
    for i in range(3):
        alone = network(image[i : i + 1], mask[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_pixels_in_the_mask_have_no_effect(name: str) -> None:
    image, mask = draw(1, 32, 32)
    network = small(name)
    assert torch.equal(network(image, mask), network(image * (1 - mask) + 0.7 * mask, mask))


@pytest.mark.parametrize("name", SMALL)
def test_sketch_has_an_effect_in_the_mask_only_and_an_empty_one_has_none(name: str) -> None:
    image, mask = draw(1, 32, 32)
    lines = torch.zeros_like(mask)
    network = small(name)
    assert torch.equal(network(image, mask), network(image, mask, lines))
    lines[..., 16, :] = 1
    mask[..., 12:20, :] = 1
    assert (network(image, mask) - network(image, mask, lines)).abs().max() > 1e-4
    mask[..., 12:20, :] = 0
    assert torch.equal(network(image, mask), network(image, mask, lines)), "a sketch outside the mask has an effect"


@pytest.mark.parametrize("name", SMALL)
def test_empty_and_full_masks_give_finite_images(name: str) -> None:
    image, _ = draw(1, 24, 32)
    network = small(name)
    for value in (0.0, 1.0):
        assert network(image, torch.full((1, 1, 24, 32), value)).isfinite().all()


@pytest.mark.parametrize(("name", "residual_downscale"), [("v2", 1), ("v1", 1), ("context", 1), ("v2", 4)])
def test_residual_network_starts_as_the_smooth_fill(name: str, residual_downscale: int) -> None:
    network = as_residual_of_smooth_fill(small(name), 3, residual_downscale=residual_downscale)
    image, mask = draw(2, 128, 136)  # the context encoder pads the width to 160
    for stage in network.stages(image, mask):
        where = (mask > 0).expand_as(image)
        padded = (functional.pad(x, (0, 24, 0, 0), mode="reflect") for x in (image, mask))
        pads = network.size_multiple == 32
        smooth = SmoothFill()(*padded)[..., :136] if pads else SmoothFill()(image, mask)
        torch.testing.assert_close(stage[where], smooth[where], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["v2", "v2-tensorflow", "v1"])
def test_initial_outputs_are_neither_constant_nor_saturated(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wide = deepfill_v1(width=32) if name == "v1" else deepfill_v2(width=32, tensorflow=name != "v2")
    for stage in wide.stages(*draw(1, 64, 64)):
        assert 0.02 < stage.detach().std() < 0.9


@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_every_weight(name: str) -> None:
    image, mask = draw(2, 64, 64)
    network = small(name).train()
    sum(stage.square().mean() for stage in network.stages(image, mask)).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    assert all(parameter.grad.abs().sum() > 0 for key, parameter in network.named_parameters() if "weight" in key)


def test_other_channels_and_widths() -> None:
    image, mask = draw(1, 16, 16, channels=1)
    assert deepfill_v2(1, width=4)(image, mask).shape == image.shape
    with pytest.raises(ValueError, match="a multiple of 4, got 6"):
        deepfill_v2(width=6)


def test_context_encoder_has_one_bottleneck_per_block_of_128_pixels() -> None:
    """128×128 pixels give one position, as in the paper; larger images give one position per block."""
    network = small("context")
    bottlenecks: list[torch.Size] = []
    network.coarse.body[0].register_forward_hook(lambda _, __, output: bottlenecks.append(output.shape))
    for side in (128, 160, 250):
        network(*draw(1, side, side))
    assert bottlenecks == [(1, 8, 1, 1), (1, 8, 2, 2), (1, 8, 5, 5)]


def test_gated_conv_multiplies_features_by_gates() -> None:
    conv = GatedConv(2, 3)
    nn.init.zeros_(conv.conv.weight)
    with torch.no_grad():
        conv.conv.bias.copy_(torch.tensor([1.0, 2.0, -1.0, 50.0, 0.0, 50.0]))
    output = conv(torch.rand(1, 2, 4, 4))[0, :, 1, 1]
    torch.testing.assert_close(output, torch.tensor([1.0, 1.0, torch.tensor(-1.0).exp().item() - 1]))


@pytest.mark.parametrize("batch", [1, 2])
def test_a_gated_convolution_is_the_same_in_channels_last(batch: int) -> None:
    x = torch.rand(batch, 2, 8, 6, requires_grad=True)
    conv = GatedConv(2, 3)
    expected = conv(x)
    (gradient,) = torch.autograd.grad(expected.square().sum(), x)
    conv.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    seen: list[torch.Tensor] = []
    conv.activation.register_forward_hook(lambda module, inputs, output: seen.extend(inputs))
    y = conv(x)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(torch.autograd.grad(y.square().sum(), x)[0], gradient)
    assert seen[0].is_contiguous(
        memory_format=torch.channels_last
    )  # of a strided half it takes several times as long


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(5, 1, 1), (3, 2, 1), (3, 1, 4), (4, 2, 1)])
def test_tensorflow_padding_is_same(kernel: int, stride: int, dilation: int) -> None:
    """SAME by its definition: ⌈size/stride⌉ outputs, with the larger part of the padding at the end."""
    conv = GatedConv(1, 1, kernel, stride=stride, dilation=dilation, tensorflow=True)
    size = 12
    missing = (size // stride - 1) * stride + dilation * (kernel - 1) + 1 - size
    before = missing // 2
    x = torch.rand(1, 1, size, size)
    padded = nn.functional.pad(x, (before, missing - before) * 2)
    a, b = nn.functional.conv2d(padded, conv.conv.weight, conv.conv.bias, stride=stride, dilation=dilation).chunk(
        2, dim=1
    )
    torch.testing.assert_close(conv(x), nn.functional.elu(a) * b.sigmoid())


def test_sn_patchgan_takes_any_size_at_several_scales() -> None:
    discriminator = MultiScaleDiscriminator(lambda: SNPatchDiscriminator(4, width=4), scales=2)
    outputs: list[list[Tensor]] = discriminator(torch.rand(2, 3, 130, 66), torch.rand(2, 1, 130, 66))
    assert [layers[-1].shape for layers in outputs] == [(2, 16, 3, 2), (2, 16, 2, 1)]
    assert SNPatchDiscriminator(4, width=4)(torch.rand(1, 4, 33, 40))[-1].shape == (1, 16, 1, 1)
    with pytest.raises(UserError, match="32×40 px, and needs 33"):
        SNPatchDiscriminator(4, width=4)(torch.rand(1, 4, 32, 40))


def test_convolutions_of_sn_patchgan_have_a_spectral_norm_of_one() -> None:
    torch.manual_seed(0)
    discriminator = SNPatchDiscriminator(4, width=4)
    for _ in range(100):  # each call in train mode improves the estimate
        discriminator(torch.rand(1, 4, 33, 33))
    for stage in discriminator.eval().stages:
        assert isinstance(stage, nn.Sequential)
        norm = torch.linalg.matrix_norm(stage[0].weight.flatten(1), 2)
        assert float(norm.detach()) == pytest.approx(1, abs=0.02)


def test_downscaled_residual_equals_that_of_the_smaller_image() -> None:
    """Averaged over blocks that are wholly masked, its output is that of the network on the averaged image."""
    network = small("v2-residual")
    downscaled = Inpainter(network.coarse, network.refine, SmoothFill(), residual_downscale=4)
    image, mask = draw(1, 128, 128)
    means = functional.avg_pool2d(SmoothFill()(image, mask), 4)
    alone = Inpainter(network.coarse, network.refine)  # without a smooth fill of its own
    mostly_masked = (functional.avg_pool2d(mask, 4) > 0.5).float()
    expected = alone._run(means, mostly_masked, torch.zeros(1, 1, 32, 32))[-1]
    output = functional.avg_pool2d(downscaled(image, mask), 4)
    inner = -functional.max_pool2d(-functional.max_pool2d(mask, 4), 3, stride=1, padding=1) > 0
    residual = (expected - means)[inner.expand_as(means)]
    assert (output - means)[inner.expand_as(means)].sub(residual).abs().mean() < 0.5 * residual.abs().mean()

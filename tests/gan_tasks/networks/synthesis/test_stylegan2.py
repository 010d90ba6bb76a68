"""StyleGAN2's layers equal their definitions, and its networks keep to the frame."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.synthesis.frame import SynthesisGenerator
from gan_tasks.networks.synthesis.resampling import BILINEAR_TAPS, fir_filter, upfirdn
from gan_tasks.networks.synthesis.stylegan2 import (
    ActivatedLinear,
    StyledConv,
    StyledRGB,
    StyleGAN2Discriminator,
    StyleMapping,
    stylegan2_generator,
    widths_for,
)

STYLE = 6


def generator(size: tuple[int, int] = (16, 16), classes: int = 0, seed: int = 0) -> SynthesisGenerator:
    torch.manual_seed(seed)
    mapping = StyleMapping(5, classes, style=STYLE, layers=2)
    network = stylegan2_generator(size, mapping, widths_for(size, channel_base=64, channel_max=6))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(("bias", "strength")):
                parameter.normal_()
        mapping.track(torch.randn(STYLE), decay=0.5)
    return network


def latents(count: int = 2, seed: int = 1) -> Tensor:
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("doubles", [False, True])
def test_a_styled_convolution_equals_one_with_demodulated_weights_of_each_sample(doubles: bool) -> None:
    torch.manual_seed(0)
    conv = StyledConv(3, 4, STYLE, (10, 10) if doubles else (5, 5), fir_filter(BILINEAR_TAPS) if doubles else None)
    nn.init.normal_(conv.bias)
    nn.init.constant_(conv.noise_strength, 0.7)
    conv.double()
    x, styles = torch.randn(3, 3, 5, 5, dtype=torch.float64), torch.randn(3, STYLE, dtype=torch.float64)
    expected = []
    for features, style in zip(x, styles, strict=True):
        factors = conv.affine.weight @ style / math.sqrt(STYLE) + conv.affine.bias
        weight = conv.weight * factors[None, :, None, None]
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if doubles:
            y = functional.conv_transpose2d(features[None], weight.transpose(0, 1), stride=2)
            y = upfirdn(y, fir_filter(BILINEAR_TAPS), padding=(1, 1, 1, 1), gain=4)
        else:
            y = functional.conv2d(features[None], weight, padding=1)
        y = y + conv.noise_strength * conv.noise + conv.bias[:, None, None]
        expected.append(math.sqrt(2) * torch.where(y > 0, y, 0.2 * y))
    assert torch.allclose(conv(x, styles), torch.cat(expected), atol=1e-10)


def test_demodulated_outputs_of_random_inputs_have_deviation_1() -> None:
    torch.manual_seed(0)
    conv, x = StyledConv(8, 4, STYLE, (40, 40)), torch.randn(2, 8, 40, 40)
    factors = 5 * torch.randn(2, 8)
    y = functional.conv2d(x * factors[:, :, None, None], conv.weight) * conv.demodulation(factors)[:, :, None, None]
    assert torch.allclose(y.std((2, 3)), torch.ones(2, 4), atol=0.15)


def test_rgb_is_a_convolution_with_modulated_weights_of_each_sample() -> None:
    torch.manual_seed(0)
    rgb = StyledRGB(5, 3, STYLE).double()
    nn.init.normal_(rgb.bias)
    x, styles = torch.randn(2, 5, 3, 4, dtype=torch.float64), torch.randn(2, STYLE, dtype=torch.float64)
    for features, style, image in zip(x, styles, rgb(x, styles), strict=True):
        factors = (rgb.affine.weight @ style / math.sqrt(STYLE) + rgb.affine.bias) / math.sqrt(5)
        expected = functional.conv2d(features, rgb.weight * factors[:, None, None], rgb.bias)
        assert torch.allclose(image, expected, atol=1e-12)


class TestMapping:
    def test_the_scale_of_latent_and_label_does_not_matter(self) -> None:
        torch.manual_seed(0)
        mapping, label = StyleMapping(5, 3, style=4, layers=3), torch.eye(3)[:2]
        once = mapping(latents(), label)
        assert torch.allclose(once, mapping(9 * latents(), label), atol=1e-5)
        assert not torch.allclose(once, mapping(latents(), label.flip(0)), atol=1e-3)

    def test_layers_learn_at_their_rate(self) -> None:
        """A step of Adam changes each stored weight by its rate, and the weight in use by a part of it."""
        torch.manual_seed(0)
        layer = StyleMapping(50, style=40, layers=1, lr_multiplier=0.01).layers[0]
        assert isinstance(layer, ActivatedLinear)
        expected = 0.01 * math.sqrt(2 / 50)
        assert torch.allclose(layer.scaled_weight() / layer.weight, torch.tensor(expected))
        assert layer.scaled_weight().std().item() == pytest.approx(math.sqrt(2 / 50), rel=0.1)
        assert layer.bias_gain == pytest.approx(0.01 * math.sqrt(2))

    def test_the_average_moves_towards_the_mean_of_a_step(self) -> None:
        mapping = StyleMapping(5, style=2, layers=1)
        mapping.track(torch.tensor([1.0, 2.0]), decay=0.75)
        mapping.track(torch.tensor([1.0, 0.0]), decay=0.75)
        assert mapping.average is not None
        assert mapping.average.tolist() == pytest.approx([0.75 * 0.25 + 0.25, 0.75 * 0.5])
        assert "average" in mapping.state_dict()


class TestGenerator:
    @pytest.mark.parametrize("size", [(4, 4), (32, 32), (16, 32), (96, 64)])
    def test_images_have_the_size(self, size: tuple[int, int]) -> None:
        network = generator(size, classes=3)
        image = network(latents(), torch.eye(3)[:2])
        assert image.shape == (2, 3, *size)
        image.square().sum().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())

    def test_the_path_length_has_gradients_of_all_weights_before_the_image(self) -> None:
        network = generator((8, 8))
        styles = network.styles(latents())
        (slopes,) = torch.autograd.grad(network.synthesize(styles).sum(), styles, create_graph=True)
        slopes.square().sum().backward()
        without = {name for name, parameter in network.named_parameters() if parameter.grad is None}
        assert all(name.endswith(("bias", "noise_strength", "const")) for name in without)

    def test_other_sizes_are_refused(self) -> None:
        with pytest.raises(UserError, match="images of 30×64 pixels cannot be generated"):
            generator((30, 64))

    def test_truncation_of_0_gives_the_average_and_of_1_changes_nothing(self) -> None:
        network = generator()
        images = network(latents(), None, torch.zeros(2, 1))
        assert torch.allclose(images[0], images[1], atol=1e-5)
        assert torch.allclose(network(latents(), None, torch.ones(2, 1)), network(latents()), atol=1e-5)
        assert network.mapping.average is not None
        average = network.mapping.average.expand(1, network.style_count, -1)
        assert torch.allclose(network.synthesize(average)[0], images[0], atol=1e-5)

    def test_each_style_acts_from_its_layer_on(self) -> None:
        """Fine styles leave the layers before them as they are, and the image uses the first style of the next."""
        network = generator()
        styles = network.styles(latents(1)).clone()
        assert styles.shape == (1, 6, STYLE)

        def outputs(changed: int) -> list[Tensor]:
            """Outputs of base, RGB and stages in order, with one style changed."""
            found: list[Tensor] = []
            parts = [network.base, network.to_rgb[0]]
            for stage, rgb in zip(network.stages, network.to_rgb[1:], strict=True):
                assert isinstance(stage, nn.Module)
                parts += [stage.get_submodule("conv0"), stage.get_submodule("conv1"), rgb]
            hooks = [part.register_forward_hook(lambda _, __, y: found.append(y)) for part in parts]
            network.synthesize(styles + (torch.arange(6) == changed)[:, None])
            for hook in hooks:
                hook.remove()
            return found

        plain = outputs(-1)
        # outputs in the order of their layers: base, RGB, then convolution, convolution, RGB of each stage
        first_changed = {
            style: next(
                i for i, (a, b) in enumerate(zip(plain, outputs(style), strict=True)) if not torch.equal(a, b)
            )
            for style in range(6)
        }
        assert first_changed == {0: 0, 1: 1, 2: 3, 3: 4, 4: 6, 5: 7}

    def test_noise_is_constant_or_drawn(self) -> None:
        network = generator()
        assert torch.equal(network(latents()), network(latents()))
        sizes = []

        def draw(*size: int) -> Tensor:
            sizes.append(size)
            return torch.zeros(size)

        network.set_noise(draw)
        drawn = network(latents())
        assert sizes == [(2, 1, 4, 4), (2, 1, 8, 8), (2, 1, 8, 8), (2, 1, 16, 16), (2, 1, 16, 16)]
        for name, buffer in network.named_buffers():
            if name.endswith("noise"):
                buffer.zero_()
        network.set_noise(None)
        assert torch.allclose(network(latents()), drawn, atol=1e-5)

    def test_widths_follow_base_and_maximum(self) -> None:
        assert widths_for((64, 64), channel_base=1024, channel_max=100) == [100, 100, 64, 32, 16]
        assert widths_for((32, 64), channel_base=1024, channel_max=100) == [100, 100, 64, 32, 16]
        assert widths_for((1024, 1024), channel_base=32768) == [512, 512, 512, 512, 512, 256, 128, 64, 32]


class TestDiscriminator:
    @pytest.mark.parametrize("size", [(4, 4), (32, 32), (16, 32), (96, 64)])
    def test_one_logit_an_image(self, size: tuple[int, int]) -> None:
        torch.manual_seed(0)
        mapping = StyleMapping(0, 3, style=4, layers=2, tracks_average=False)
        network = StyleGAN2Discriminator(
            size, widths_for(size, channel_base=64, channel_max=6), label_mapping=mapping
        )
        features = network(torch.randn(4, 3, *size), torch.eye(3)[[0, 1, 2, 0]])[0]
        assert features[-1].shape == (4, 1, 1, 1)
        features[-1].sum().backward()
        unused = {name for name, parameter in network.named_parameters() if parameter.grad is None}
        assert unused == set()

    def test_the_penalty_of_gradients_has_gradients(self) -> None:
        torch.manual_seed(0)
        network, images = StyleGAN2Discriminator((8, 8), (6, 6)), torch.randn(4, 3, 8, 8, requires_grad=True)
        (slopes,) = torch.autograd.grad(network(images)[0][-1].sum(), images, create_graph=True)
        slopes.square().sum().backward()
        assert all(weight.grad is not None for name, weight in network.named_parameters() if name.endswith("weight"))

    def test_it_sees_that_images_are_alike(self) -> None:
        torch.manual_seed(0)
        network = StyleGAN2Discriminator((8, 8), (6, 6))
        images = torch.randn(4, 3, 8, 8)
        alone, among_others = network(images[:1].expand(4, -1, -1, -1))[0][-1], network(images)[0][-1]
        assert not torch.allclose(alone[0], among_others[0], atol=1e-3)
        network = StyleGAN2Discriminator((8, 8), (6, 6), deviation=(4, 0))
        alone, among_others = network(images[:1].expand(4, -1, -1, -1))[0][-1], network(images)[0][-1]
        assert torch.allclose(alone[0], among_others[0], atol=1e-5)

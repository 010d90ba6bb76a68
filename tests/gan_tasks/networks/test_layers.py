"""The layers against PyTorch's own: results, gradients and their gradients."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from gan_tasks.networks import layers
from gan_tasks.networks.layers import Conv2d, ConvTranspose2d, InstanceNorm2d, PReLU, ReflectionPad2d, halves
from gan_tasks.networks.spectral_norm import spectral_norm

ROWS, LAST = torch.contiguous_format, torch.channels_last


@pytest.fixture(autouse=True)
def _with_few_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "FEWEST_WEIGHTS", 0)


def twin(layer: nn.Module) -> nn.Module:
    """The layer of PyTorch with the same options and weights."""
    is_transposed = isinstance(layer, nn.ConvTranspose2d)
    names = ["kernel_size", "stride", "padding", *(["output_padding"] if is_transposed else [])]
    options = {name: getattr(layer, name) for name in names}
    kind: Any = nn.ConvTranspose2d if is_transposed else nn.Conv2d
    other: nn.Module = kind(layer.in_channels, layer.out_channels, bias=layer.bias is not None, **options).double()
    other.load_state_dict(layer.state_dict())
    return other


def derivatives(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """The result, the gradients of x and of the weights, and the gradients of the norm of these."""
    x = x.detach().requires_grad_()
    weights = [x, *layer.parameters()]
    y = layer(x)
    factors = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape)
    first = torch.autograd.grad((y * factors + y**3 / 9).sum(), weights, create_graph=True)
    second = torch.autograd.grad(sum((each**2).sum() for each in first), weights, allow_unused=True)  # type: ignore[arg-type]
    return [y, *first, *(each for each in second if each is not None)]


def assert_equal(a: list[Tensor], b: list[Tensor]) -> None:
    assert len(a) == len(b)
    for own, other in zip(a, b, strict=True):
        assert own.shape == other.shape
        assert torch.allclose(own, other, rtol=1e-9, atol=1e-9)


def images(*shape: int, layout: torch.memory_format = ROWS) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, dtype=torch.float64, generator=generator).to(memory_format=layout)


@pytest.mark.parametrize("layout", [ROWS, LAST])
@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (lambda: Conv2d(3, 5, 4, stride=2, padding=1), (4, 6)),
        (lambda: Conv2d(3, 5, 4, stride=2, padding=1, bias=False), (2, 2)),
        (lambda: Conv2d(3, 5, 3, padding=1), (3, 5)),
        (lambda: Conv2d(3, 5, 4), (4, 4)),
        (lambda: ConvTranspose2d(3, 5, 4, stride=2, padding=1), (2, 3)),
        (lambda: ConvTranspose2d(3, 5, 3, stride=2, padding=1, output_padding=1, bias=False), (4, 3)),
        (lambda: ConvTranspose2d(3, 5, 4), (1, 1)),
    ],
)
def test_a_product_of_matrices_equals_the_convolution(
    layer: Callable[[], nn.Module], size: tuple[int, int], layout: torch.memory_format
) -> None:
    own = layer().double().to(memory_format=layout)  # type: ignore[call-overload]
    for count in (1, 2):
        x = images(count, 3, *size, layout=layout)
        assert "Convolution" not in type(own(x.requires_grad_()).grad_fn).__name__
        assert_equal(derivatives(own, x), derivatives(twin(own), x))


def test_many_positions_or_unusual_options_are_left_to_pytorch() -> None:
    for layer, x in (
        (Conv2d(3, 5, 3), images(1, 3, 20, 20)),
        (Conv2d(4, 4, 3, groups=2), images(1, 4, 5, 5)),
        (Conv2d(3, 5, 3, dilation=2), images(1, 3, 6, 6)),
        (Conv2d(3, 5, 3, padding="same"), images(1, 3, 6, 6)),
        (Conv2d(3, 5, 3, padding=1, padding_mode="reflect"), images(1, 3, 6, 6)),
        (Conv2d(3, 5, (3, 1)), images(1, 3, 6, 6)),
        (ConvTranspose2d(4, 4, 3, groups=2), images(1, 4, 5, 5)),
        (ConvTranspose2d(3, 5, 3), images(1, 3, 20, 20)),
    ):
        y = layer.double()(x)
        assert type(y.grad_fn).__name__ == "ConvolutionBackward0"


@pytest.mark.parametrize("layout", [ROWS, LAST])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_instance_norm_equals_pytorchs_and_keeps_the_layout(
    count: int, affine: bool, layout: torch.memory_format
) -> None:
    own, other = InstanceNorm2d(5, affine=affine).double(), nn.InstanceNorm2d(5, affine=affine).double()
    for layer in (own, other):
        for parameter, value in zip(layer.parameters(), (1.5, -0.5), strict=False):
            nn.init.constant_(parameter, value)
    x = images(count, 5, 4, 7, layout=layout) * 3 + 1
    assert_equal(derivatives(own, x), derivatives(other, x))
    assert own(x.requires_grad_()).is_contiguous(memory_format=layout)


@pytest.mark.parametrize("of_gradient", [ROWS, LAST])
@pytest.mark.parametrize("of_input", [ROWS, LAST])
def test_instance_norm_of_one_image_takes_a_gradient_of_any_layout(
    of_input: torch.memory_format, of_gradient: torch.memory_format
) -> None:
    """Against the gradient of PyTorch in NCHW, as PyTorch's own is wrong for one in channels-last."""
    x, gradient = images(1, 5, 4, 7), images(1, 5, 4, 7).sin()
    other = x.clone().requires_grad_()
    nn.InstanceNorm2d(5)(other).backward(gradient)
    own = x.to(memory_format=of_input).clone().requires_grad_()
    InstanceNorm2d(5)(own).backward(gradient.to(memory_format=of_gradient))
    assert own.grad is not None and other.grad is not None
    assert torch.allclose(own.grad, other.grad, atol=1e-12)


def test_instance_norm_refuses_a_single_position() -> None:
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        InstanceNorm2d(3)(torch.zeros(2, 3, 1, 1))


def test_padding_keeps_bfloat16_under_autocast() -> None:
    x = images(1, 2, 4, 5, layout=LAST).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = ReflectionPad2d(2)(x)
    assert y.dtype == torch.bfloat16
    assert y.equal(nn.ReflectionPad2d(2)(x))


@pytest.mark.parametrize("layout", [ROWS, LAST])
@pytest.mark.parametrize("slopes", [1, 5])
def test_prelu_equals_pytorchs(slopes: int, layout: torch.memory_format) -> None:
    own, other = PReLU(slopes).double(), nn.PReLU(slopes).double()
    for layer in (own, other):
        with torch.no_grad():
            layer.weight.copy_(torch.linspace(-0.5, 1.5, slopes, dtype=torch.float64))
    x = images(2, 5, 4, 3, layout=layout)
    assert_equal(derivatives(own, x), derivatives(other, x))


def test_halves_of_channels_keep_the_layout() -> None:
    for layout in (ROWS, LAST):
        x = images(2, 6, 3, 4, layout=layout)
        first, last = halves(x)
        assert torch.equal(torch.cat([first, last], 1), x)
    assert first.is_contiguous(memory_format=LAST) and last.is_contiguous(memory_format=LAST)


@pytest.mark.parametrize("size", [1, 4])
def test_a_product_under_autocast_is_as_precise_as_the_convolution(size: int) -> None:
    own = ConvTranspose2d(64, 8, 4, stride=2, padding=1)
    x = images(1, 64, size, size).float()
    exact = twin(own.double())(x.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = own.float()(x)
        other = twin(own).float()(x)
    assert y.dtype == other.dtype == torch.bfloat16
    assert (y.double() - exact).abs().mean() < 2 * (other.double() - exact).abs().mean()


def test_spectral_norm_takes_one_iteration_per_forward_pass() -> None:
    own, other = Conv2d(3, 5, 4, stride=2, padding=1).double(), nn.Conv2d(3, 5, 4, stride=2, padding=1).double()
    spectral_norm(own)
    parametrizations.spectral_norm(other)
    other.load_state_dict(own.state_dict())
    x = images(1, 3, 4, 4)
    assert torch.allclose(own(x), other(x))
    assert all(torch.allclose(a, b) for a, b in zip(own.buffers(), other.buffers(), strict=True))

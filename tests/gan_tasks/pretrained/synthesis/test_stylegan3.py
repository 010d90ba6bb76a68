"""StyleGAN3's checkpoints, against stored outputs of the published network and against its layout restated."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import scipy.special
import torch
from interop import interop_case, interop_names
from torch import Tensor
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.synthesis.frame import SynthesisGenerator
from gan_tasks.networks.synthesis.stylegan3 import FilteredLayer, FourierInput
from gan_tasks.pretrained.load import load_network, load_pretrained
from gan_tasks.pretrained.synthesis import stylegan3
from gan_tasks.spec import InputSpec

TOLERANCE = 1e-4
"""The filters of 14 layers and more add up more rounding than other networks."""

State = dict[str, Tensor]


@pytest.mark.parametrize("name", interop_names("stylegan3"))
@pytest.mark.parametrize("suffix", [".pth", ".pkl"])
def test_stored_outputs(name: str, suffix: str) -> None:
    case = interop_case(name)
    if not (path := case.path.with_suffix(suffix)).exists():
        pytest.skip(f"{path} is absent")
    generator = load_network(path)
    assert isinstance(generator, SynthesisGenerator)
    (latent,) = case.inputs
    truncated = generator(latent, None, torch.full((len(latent), 1), 0.7))
    for made, key in (
        (generator(latent), "output"),
        (generator.styles(latent), "w"),
        (truncated, "output_psi07"),
    ):
        torch.testing.assert_close(made, case.outputs[key], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", interop_names("stylegan3"))
def test_filters_are_designed_as_those_of_the_published_code(name: str) -> None:
    generator = load_network(interop_case(name).path)
    for key, layer in generator.named_modules():
        if not isinstance(layer, FilteredLayer):
            continue
        number = int(key.split(".")[1])
        signals = stored_signals(name)
        designed = FilteredLayer(
            2,
            2,
            2,
            before=signals[max(0, number - 1)],
            after=signals[number],
            kernel=1,
            radial=layer.down_filter.ndim == 2,
            filter_size=6,
        )
        torch.testing.assert_close(designed.up_filter, layer.up_filter, rtol=0, atol=1e-6)
        torch.testing.assert_close(designed.down_filter, layer.down_filter, rtol=0, atol=1e-6)


def stored_signals(name: str) -> tuple[stylegan3.Signal, ...]:
    return stylegan3.signals_of_layers((32, 32), {"stylegan3_t": 14, "stylegan3_r": 8}[name])


# The published network, restated for images of other sizes.


@dataclass(frozen=True)
class Sizes:
    resolution: int
    layers: int
    critical: int = 2
    margin: int = 10
    kernel: int = 3
    radial: bool = False
    filter_size: int = 6
    classes: int = 0
    channels: int = 3


NETWORKS = {
    "t": Sizes(64, 5, critical=1, margin=6, channels=1),
    "r": Sizes(32, 6, kernel=1, radial=True, classes=3),
    "filters of 4 taps": Sizes(16, 4, critical=3, filter_size=4, margin=3, radial=True),
    "nothing critical": Sizes(32, 4, critical=0),
}
LATENT, STYLE = 5, 6


def sampling(sizes: Sizes) -> list[tuple[float, float, int, int]]:
    """The cut-off, the half width of the transition band, the sampling rate and the size of each layer's output."""
    rows = []
    for number in range(sizes.layers + 1):
        part = min(number / (sizes.layers - sizes.critical), 1)
        cutoff = 2 * (sizes.resolution / 2 / 2) ** part
        stop = 2**2.1 * (sizes.resolution / 2 * 2**0.3 / 2**2.1) ** part
        rate = 2 ** math.ceil(math.log2(min(2 * stop, sizes.resolution)) - 1e-9)
        size = sizes.resolution if number >= sizes.layers - 1 else rate + 2 * sizes.margin
        rows.append((cutoff, max(stop, rate / 2) - cutoff, rate, size))
    return rows


def designed(taps: int, cutoff: float, half_width: float, rate: float, radial: bool = False) -> Tensor:
    if not radial:
        return torch.tensor(scipy.signal.firwin(taps, cutoff, width=2 * half_width, fs=rate), dtype=torch.float32)
    x = (np.arange(taps) - (taps - 1) / 2) / rate
    r = np.hypot(*np.meshgrid(x, x))
    beta = scipy.signal.kaiser_beta(scipy.signal.kaiser_atten(taps, 2 * half_width / (rate / 2)))
    window = np.kaiser(taps, beta)
    square = scipy.special.j1(2 * cutoff * np.pi * r) / (np.pi * r) * np.outer(window, window)
    return torch.tensor(square / square.sum(), dtype=torch.float32)


def random_state(sizes: Sizes) -> State:
    random = torch.Generator().manual_seed(sizes.layers)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random)

    rows = sampling(sizes)
    widths = [5 - number % 2 for number in range(sizes.layers)]
    embedding = 4 if sizes.classes else 0
    state = {
        "synthesis.input.weight": draw(widths[0], widths[0]),
        "synthesis.input.freqs": draw(widths[0], 2) * 1.5,
        "synthesis.input.phases": draw(widths[0]),
        "synthesis.input.transform": torch.tensor([[0.8, -0.6, 0.1], [0.6, 0.8, 0.05], [0.0, 0.0, 1.0]]),
        "synthesis.input.affine.weight": draw(4, STYLE) * 0.3,
        "synthesis.input.affine.bias": torch.tensor([1.0, 0.2, 0.1, -0.1]),
        "mapping.w_avg": draw(STYLE),
        "mapping.fc0.weight": draw(7, LATENT + embedding) * 100,
        "mapping.fc0.bias": draw(7) * 20,
        "mapping.fc1.weight": draw(STYLE, 7) * 100,
        "mapping.fc1.bias": draw(STYLE) * 20,
    }
    if sizes.classes:
        state |= {"mapping.embed.weight": draw(embedding, sizes.classes), "mapping.embed.bias": draw(embedding)}
    for number in range(sizes.layers + 1):
        is_last = number == sizes.layers
        (cutoff_in, half_in, rate_in, _), (cutoff, half, rate, size) = rows[max(0, number - 1)], rows[number]
        inputs, outputs = widths[max(0, number - 1)], sizes.channels if is_last else widths[number]
        kernel = 1 if is_last else sizes.kernel
        name = f"synthesis.L{number}_{size}_{outputs}"
        state |= {
            f"{name}.weight": draw(outputs, inputs, kernel, kernel),
            f"{name}.bias": draw(outputs) * 0.3,
            f"{name}.magnitude_ema": draw().square() + 0.5,
            f"{name}.affine.weight": draw(inputs, STYLE),
            f"{name}.affine.bias": draw(inputs) + 1,
        }
        if not is_last:
            inner = 2 * max(rate_in, rate)
            taps = [sizes.filter_size * inner // each for each in (rate_in, rate)]
            radial = sizes.radial and number < sizes.layers - sizes.critical
            state[f"{name}.up_filter"] = designed(taps[0], cutoff_in, half_in, inner)
            state[f"{name}.down_filter"] = designed(taps[1], cutoff, half, inner, radial)
    return state


def resampled(x: Tensor, filter: Tensor, up: int, down: int) -> Tensor:
    """Insert zeros, filter without padding, keep every down-th."""
    square = filter if filter.ndim == 2 else filter[:, None] * filter
    channels = x.shape[1]
    stuffed = x.new_zeros(*x.shape[:2], x.shape[2] * up, x.shape[3] * up)
    stuffed[:, :, ::up, ::up] = x * up**2
    return functional.conv2d(stuffed, square.expand(channels, 1, *square.shape), stride=down, groups=channels)


def published(state: State, sizes: Sizes, latent: Tensor, label: Tensor | None) -> Tensor:
    def dense(name: str, x: Tensor, lr: float = 1.0) -> Tensor:
        weight = state[f"{name}.weight"]
        return x @ (weight * (lr / weight.shape[1] ** 0.5)).T + state[f"{name}.bias"] * lr

    def normalised(x: Tensor) -> Tensor:
        return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()

    style = normalised(latent)
    if label is not None:
        style = torch.cat([style, normalised(dense("mapping.embed", label))], dim=1)
    for number in (0, 1):
        style = functional.leaky_relu(dense(f"mapping.fc{number}", style, 0.01), 0.2) * 2**0.5

    rows = sampling(sizes)
    cutoff, _, rate, size = rows[0]
    t = dense("synthesis.input.affine", style)
    t = t / t[:, :2].norm(dim=1, keepdim=True)
    samples = []
    for c, s, x, y in t:
        turn = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        move = torch.tensor([[1, 0, -x], [0, 1, -y], [0, 0, 1]])
        whole = turn @ move @ state["synthesis.input.transform"]
        frequencies = state["synthesis.input.freqs"] @ whole[:2, :2]
        phases = state["synthesis.input.phases"] + state["synthesis.input.freqs"] @ whole[:2, 2]
        fade = (1 - (frequencies.norm(dim=1) - cutoff) / (rate / 2 - cutoff)).clamp(0, 1)
        places = (torch.arange(size) + 0.5 - size / 2) / rate
        grid = torch.stack(torch.meshgrid(places, places, indexing="xy"), dim=2)
        waves = torch.sin(2 * math.pi * (grid @ frequencies.T + phases)) * fade
        weight = state["synthesis.input.weight"]
        samples.append((waves @ weight.T / len(weight) ** 0.5).permute(2, 0, 1))
    features = torch.stack(samples)

    for number in range(sizes.layers + 1):
        is_last = number == sizes.layers
        pattern = rf"synthesis\.L{number}_\d+_\d+\.weight"
        (name,) = (key.removesuffix(".weight") for key in state if re.fullmatch(pattern, key))
        weight, kernel = state[f"{name}.weight"], state[f"{name}.weight"].shape[-1]
        factors = dense(f"{name}.affine", style)
        if is_last:
            factors = factors / weight.shape[1] ** 0.5
        results = []
        for one, factor in zip(features, factors, strict=True):
            modulated = weight * factor[:, None, None]
            if not is_last:
                modulated = modulated / (modulated.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
            modulated = modulated / state[f"{name}.magnitude_ema"].sqrt()
            results.append(functional.conv2d(one[None], modulated, padding=kernel - 1)[0])
        features = torch.stack(results) + state[f"{name}.bias"][:, None, None]
        if is_last:
            return 0.25 * features.clamp(-256, 256)
        (_, _, rate_in, size_in), (_, _, rate, size) = rows[max(0, number - 1)], rows[number]
        inner = 2 * max(rate_in, rate)
        up, down = inner // rate_in, inner // rate
        up_filter, down_filter = state[f"{name}.up_filter"], state[f"{name}.down_filter"]
        total = (size - 1) * down + 1 - (size_in + kernel - 1) * up + up_filter.shape[0] + down_filter.shape[0] - 2
        first = (total + up) // 2
        # Padding of the stuffed features: put it around in whole steps, and cut what is too much.
        ring = 60
        wide = resampled(functional.pad(features, (ring,) * 4), up_filter, up, 1)
        start = ring * up - first
        length = (size_in + kernel - 1) * up + total - up_filter.shape[0] + 1
        wide = wide[:, :, start : start + length, start : start + length]
        activated = (functional.leaky_relu(wide, 0.2) * 2**0.5).clamp(-256, 256)
        features = resampled(activated, down_filter, 1, down)
        assert features.shape[-1] == size
    raise AssertionError


@pytest.mark.parametrize("name", NETWORKS)
def test_the_generator_equals_its_published_layout(tmp_path: Path, name: str) -> None:
    sizes = NETWORKS[name]
    state = random_state(sizes)
    torch.save({"G_ema": state}, tmp_path / "n.pth")
    found = load_pretrained(tmp_path / "n.pth")
    latent = torch.randn(2, LATENT, generator=torch.Generator().manual_seed(1))
    label = torch.eye(sizes.classes)[:2] if sizes.classes else None
    expected = published(state, sizes, latent, label)
    assert expected.std() > 0.02, "the weights would verify nothing"
    torch.testing.assert_close(found.network(latent, label), expected, rtol=1e-4, atol=TOLERANCE)
    assert found.usage is not None
    spec = found.usage.spec
    assert (spec.output_size, spec.out_channels) == ((sizes.resolution, sizes.resolution), sizes.channels)
    assert [each.name for each in spec.inputs] == ["latent", *(["label"] if sizes.classes else []), "truncation"]
    assert spec.inputs[0] == InputSpec("latent", "latent", LATENT, "none")
    network = found.network
    assert isinstance(network, SynthesisGenerator)
    assert isinstance(network.base, FourierInput)
    assert network.style_count == sizes.layers + 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"synthesis.L1_36_4.magnitude_ema": None}, r"L1_36_4\.magnitude_ema is absent"),
        ({"synthesis.L9_32_5.weight": torch.ones(5, 5, 1, 1)}, r"8 layers, numbered \[0, 1, 2, 3\]"),
        ({"synthesis.L0_36_5.up_filter": torch.ones(10)}, "no StyleGAN3 of 32×32 pixels has"),
        ({"synthesis.L0_36_5.up_filter": torch.ones(())}, "expected a low-pass filter"),
        ({"synthesis.L1_36_4.affine.weight": torch.ones(9, 9)}, r"affine\.weight is 9×9 where 5×6"),
    ],
)
def test_misfits_are_named(tmp_path: Path, change: dict[str, Tensor | None], says: str) -> None:
    state = {**random_state(NETWORKS["r"]), **change}
    torch.save({key: tensor for key, tensor in state.items() if tensor is not None}, tmp_path / "n.pth")
    with pytest.raises(UserError, match=says):
        load_network(tmp_path / "n.pth")

"""Checkpoints of MI-GAN, against stored outputs of the published network and against its layers restated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from interop import TOLERANCE, interop_case, interop_names
from torch import Tensor
from torch.nn import functional

import gan_tasks
from gan_tasks.datasets.errors import UserError
from gan_tasks.export.inference.inpaint_options import InpaintOptions
from gan_tasks.export.inference.predictor import PredictOptions
from gan_tasks.export.models.pretrained_model import PretrainedModel
from gan_tasks.export.onnx.export import export_onnx
from gan_tasks.pretrained.load import load_network, load_pretrained

State = dict[str, Tensor]


@pytest.mark.parametrize("name", interop_names("migan"))
def test_stored_outputs(name: str) -> None:
    case = interop_case(name)
    network = load_network(case.path)
    (x,) = case.inputs
    torch.testing.assert_close(network(x), case.outputs["output"], rtol=0, atol=TOLERANCE)
    image, mask = x[:, 1:], 0.5 - x[:, :1]
    torch.testing.assert_close(network(image, mask), case.outputs["output"], rtol=0, atol=TOLERANCE)


# The published network, restated.

BLUR = torch.outer(torch.tensor([1.0, 3.0, 3.0, 1.0]), torch.tensor([1.0, 3.0, 3.0, 1.0])) / 64


def random_state(side: int, base: int, widest: int, *, older: bool = False) -> State:
    """A random state dict. `older`: with the constants of the version that inserted zeros by a convolution."""
    random = torch.Generator().manual_seed(side)
    state: State = {}

    def add(key: str, *shape: int, gain: float = 1.0) -> None:
        state[key] = torch.randn(shape, generator=random) * gain

    def separable(name: str, inputs: int, outputs: int) -> None:
        add(f"{name}.conv1.weight", inputs, 1, 3, 3, gain=0.4)
        add(f"{name}.conv1.bias", inputs, gain=0.1)
        add(f"{name}.conv2.weight", outputs, inputs, 1, 1, gain=inputs**-0.5)

    def upsample(name: str, channels: int, size: int) -> None:
        kept = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
        if older:
            state[f"{name}.insert_zeros.weight"] = kept.repeat(channels, 1, 1, 1)
        else:
            state[f"{name}.filter_const"] = kept.repeat(1, 1, size // 2, size // 2)
        state[f"{name}.filter.weight"] = (4 * BLUR).repeat(channels, 1, 1, 1)

    def width(size: int) -> int:
        return min(base // size, widest)

    size = side
    add(f"encoder.b{side}.fromrgb.weight", width(side), 4, 1, 1)
    add(f"encoder.b{side}.fromrgb.bias", width(side))
    while size >= 4:
        below = max(4, size // 2)
        separable(f"encoder.b{size}.conv1", width(size), width(size))
        separable(f"encoder.b{size}.conv2", width(size), width(below))
        separable(f"synthesis.b{size}.conv1", width(below), width(size))
        separable(f"synthesis.b{size}.conv2", width(size), width(size))
        add(f"synthesis.b{size}.torgb.weight", 3, width(size), 1, 1, gain=0.1)
        add(f"synthesis.b{size}.torgb.bias", 3, gain=0.1)
        if size > 4:
            state[f"encoder.b{size}.conv2.downsample.filter.weight"] = BLUR.repeat(width(size), 1, 1, 1)
            for conv in ("conv1", "conv2"):
                add(f"synthesis.b{size}.{conv}.noise_const", size, size)
                add(f"synthesis.b{size}.{conv}.noise_strength", gain=0.3)
            upsample(f"synthesis.b{size}.conv1.upsample", width(size), size)
            upsample(f"synthesis.b{size}.upsample", 3, size)
        size //= 2
    return state


def published(state: State, x: Tensor) -> Tensor:
    def activated(x: Tensor) -> Tensor:
        return (functional.leaky_relu(x, 0.2) * 2**0.5).clamp(-256, 256)

    def get(key: str) -> Tensor:
        return state[key].double()

    def upsampled(x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        spread = x.new_zeros(n, channels, 2 * height, 2 * width)
        spread[..., ::2, ::2] = x
        kernel = (4 * BLUR).double().repeat(channels, 1, 1, 1)
        return functional.conv2d(functional.pad(spread, (2, 1, 2, 1)), kernel, groups=channels)

    def separable(name: str, x: Tensor, *, down: bool = False, up: bool = False) -> Tensor:
        weight, bias = get(f"{name}.conv1.weight"), get(f"{name}.conv1.bias")
        x = activated(functional.conv2d(x, weight, bias, padding=1, groups=len(weight)))
        if down:
            kernel = BLUR.double().repeat(x.shape[1], 1, 1, 1)
            x = functional.conv2d(x, kernel, stride=2, padding=1, groups=x.shape[1])
        x = functional.conv2d(x, get(f"{name}.conv2.weight"))
        x = upsampled(x) if up else x
        if f"{name}.noise_const" in state:
            x = x + get(f"{name}.noise_const") * get(f"{name}.noise_strength")
        return activated(x)

    sizes = [2**i for i in range(2, 11) if f"encoder.b{2**i}.conv1.conv1.weight" in state]
    first = f"encoder.b{sizes[-1]}.fromrgb"
    y = activated(functional.conv2d(x, get(f"{first}.weight"), get(f"{first}.bias")))
    features = {}
    for size in reversed(sizes):
        features[size] = separable(f"encoder.b{size}.conv1", y)
        y = separable(f"encoder.b{size}.conv2", features[size], down=size > 4)
    image = torch.zeros(len(x), 3, 2, 2, dtype=torch.double)
    for size in sizes:
        name = f"synthesis.b{size}"
        y = separable(f"{name}.conv2", separable(f"{name}.conv1", y, up=size > 4) + features[size])
        image = upsampled(image) + functional.conv2d(y, get(f"{name}.torgb.weight"), get(f"{name}.torgb.bias"))
    return image


@pytest.mark.parametrize(
    ("side", "base", "widest", "older"), [(8, 64, 8, False), (32, 256, 16, True), (16, 64, 64, False)]
)
def test_published_networks(side: int, base: int, widest: int, older: bool, tmp_path: Path) -> None:
    state = random_state(side, base, widest, older=older)
    torch.save({"G_ema": state, "cfg": "migan"}, tmp_path / "n.pt")
    found = load_pretrained(tmp_path / "n.pt")
    random = torch.Generator().manual_seed(1)
    image = torch.rand(2, 3, side, side, generator=random, dtype=torch.double) * 2 - 1
    mask = (torch.rand(2, 1, side, side, generator=random) > 0.7).double()
    x = torch.cat([0.5 - mask, image * (1 - mask)], dim=1)
    expected = published(state, x)
    assert expected.std() > 0.05, "the weights would verify nothing"
    network = found.network.double()
    for output in (network(x), network(image, mask)):
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-6)
    assert found.usage is not None
    spec = found.usage.spec
    assert (spec.minimum_size, spec.fixed_size, spec.in_channels, found.usage.width) == (side, True, 3, base // side)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migan") / "migan.pt"
    torch.save(random_state(32, 128, 8), path)
    return path


def test_smaller_images_are_padded_and_larger_ones_refused(checkpoint: Path) -> None:
    network = load_network(checkpoint)
    image, mask = torch.rand(1, 3, 20, 9), torch.zeros(1, 1, 20, 9)
    assert network(image, mask).shape == image.shape
    with pytest.raises(UserError, match="takes 32×32 px here, and the image is 40×32 px"):
        network(torch.rand(1, 4, 32, 40))


@pytest.mark.parametrize("strategy", ["crop", "resize", "original"])
def test_masks_of_any_size_are_filled(checkpoint: Path, strategy: str) -> None:
    predictor = gan_tasks.load(checkpoint, device="cpu")
    image = np.random.default_rng(0).integers(0, 256, (90, 150, 3), np.uint8)
    for rows, columns in ((4, 6), (60, 100)):
        mask = np.zeros(image.shape[:2], np.bool_)
        mask[10 : 10 + rows, 20 : 20 + columns] = True
        options = PredictOptions(inpaint=InpaintOptions(strategy=strategy))  # type: ignore[arg-type]
        prediction = predictor.predict({"image": image, "mask": mask}, options)
        assert np.array_equal(prediction.pixels[~mask], image[~mask])
        assert not np.array_equal(prediction.pixels[mask], image[mask])
        if strategy == "original":
            assert "takes 32 × 32 px at most" in prediction.notes[0]
        if strategy != "resize" and rows == 60:
            assert "upscaled, because it is large" in prediction.notes[-1]


def test_it_is_exported_at_its_size(tmp_path: Path) -> None:
    torch.save(random_state(8, 64, 8), tmp_path / "n.pt")
    model = PretrainedModel(tmp_path / "n.pt", device="cpu")
    report = export_onnx(model, tmp_path / "n.onnx", model_name="migan")
    assert report.verification.ok and report.max_error <= TOLERANCE and report.sizes == ((8, 8),)
    loaded = gan_tasks.load(tmp_path / "n.onnx").model
    assert loaded.spec == model.spec
    rng = np.random.default_rng(0)
    for size in ((8, 8), (5, 7)):
        image = rng.uniform(-1, 1, (2, 3, *size)).astype(np.float32)
        mask = (rng.random((2, 1, *size)) > 0.7).astype(np.float32)
        assert np.abs(loaded.run(image, mask) - model.run(image, mask)).max() <= 2 * TOLERANCE
    with pytest.raises(UserError, match="takes 8 × 8 px at most: scale it down"):
        loaded.run(np.zeros((1, 3, 9, 8), np.float32), np.zeros((1, 1, 9, 8), np.float32))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"encoder.b32.fromrgb.weight": None}, r"encoder\.bN\.fromrgb for N in \[\]"),
        ({"encoder.b8.conv1.conv1.bias": None}, r"MI-GAN Generator, but encoder\.b8\.conv1\.conv1\.bias is absent"),
        (
            {"synthesis.b8.upsample.filter.weight": torch.ones(3, 1, 4, 4)},
            "not the filter that the published code has",
        ),
        ({"synthesis.b8.conv1.upsample.filter_const": torch.ones(1, 1, 8, 8)}, "not the filter"),
        ({"synthesis.b8.conv1.noise_const": torch.ones(4, 4)}, "noise_const is 4×4 where 8×8 was expected"),
    ],
)
def test_misfits_are_named(tmp_path: Path, change: dict[str, Tensor | None], says: str) -> None:
    state = {**random_state(32, 128, 8), **change}
    torch.save({key: tensor for key, tensor in state.items() if tensor is not None}, tmp_path / "n.pth")
    with pytest.raises(UserError, match=says):
        load_network(tmp_path / "n.pth")

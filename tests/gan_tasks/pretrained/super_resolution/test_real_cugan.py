"""Checkpoints of Real-CUGAN, against a plain copy of the published networks and the outputs of the published code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from interop import TOLERANCE, interop_case, interop_names
from published_real_cugan import PublishedUpCunet, save_ncnn, save_pth, trained
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.models.pretrained_model import PretrainedModel
from gan_tasks.export.models.tiling import reporting_tiles
from gan_tasks.export.onnx.export import export_onnx
from gan_tasks.export.onnx.model import OnnxModel
from gan_tasks.pretrained.load import load_network, load_pretrained


@pytest.mark.parametrize(
    ("published", "size"),
    [
        (PublishedUpCunet(2, (8, 16, 24, 32)), (20, 33)),
        (PublishedUpCunet(2, (4, 8, 8, 12), channels=1, se=False), (24, 21)),
        (PublishedUpCunet(2, (6, 17, 9, 8), pro=True), (23, 20)),
        (PublishedUpCunet(3, (8, 8, 16, 8)), (18, 21)),
        (PublishedUpCunet(3, (5, 16, 8, 24), pro=True), (19, 22)),
        (PublishedUpCunet(4, (8, 24, 8, 16)), (20, 23)),
        (PublishedUpCunet(4, (4, 8, 16, 8), pro=True), (21, 26)),
    ],
    ids=lambda value: f"{value.scale}x" if isinstance(value, nn.Module) else None,
)
def test_published_networks(tmp_path: Path, published: PublishedUpCunet, size: tuple[int, int]) -> None:
    trained(published, seed=published.scale)
    channels = published.unet1.conv1.conv[0].in_channels
    x = torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(1))
    expected = published(x)
    assert expected.std() > 0.05, "the weights have no effect on the output"
    found = load_pretrained(save_pth(published, tmp_path / "n.pth"))
    torch.testing.assert_close(found.network(x), expected, rtol=TOLERANCE, atol=TOLERANCE)
    usage = found.usage
    assert usage is not None
    assert (usage.spec.scale, usage.spec.in_channels, usage.spec.out_channels) == (
        published.scale,
        channels,
        channels,
    )
    assert usage.width == published.unet1.conv1.conv[0].out_channels
    assert (usage.value_range, usage.spec.size_multiple) == ((0, 1), 1)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_small_images_are_padded(tmp_path: Path, scale: int) -> None:
    network = load_network(save_pth(trained(PublishedUpCunet(scale, (4, 8, 8, 8))), tmp_path / "n.pth"))
    for height, width in ((1, 1), (1, 30), (19, 20), (21, 3)):
        y = network(torch.rand(1, 3, height, width))
        assert y.shape == (1, 3, scale * height, scale * width) and y.isfinite().all()


@pytest.mark.parametrize("name", interop_names("realcugan"))
def test_stored_outputs_of_the_published_code(name: str) -> None:
    case = interop_case(name)
    torch.testing.assert_close(
        load_network(case.path)(*case.inputs), case.outputs["output"], rtol=TOLERANCE, atol=TOLERANCE
    )


@pytest.mark.parametrize("marker", ["", True, 1.0, torch.zeros(3)], ids=["text", "flag", "number", "tensor"])
def test_a_pro_file_is_known_by_its_marker(tmp_path: Path, marker: object) -> None:
    published = trained(PublishedUpCunet(2, (4, 8, 8, 8), pro=True))
    state = {f"module.{key}": tensor for key, tensor in published.state_dict().items()}
    torch.save({**state, "pro": marker}, tmp_path / "n.pth")
    x = torch.rand(1, 3, 20, 20)
    network = load_network(tmp_path / "n.pth")
    torch.testing.assert_close(network(x), published(x), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("prefix", ["net.", "generator.", "model.", "state.net_g.module.", "ema_model.module."])
def test_the_marker_is_kept_under_a_prefix(tmp_path: Path, prefix: str) -> None:
    state = PublishedUpCunet(2, (4, 8, 8, 8)).state_dict()
    torch.save({f"{prefix}{key}": tensor for key, tensor in state.items()} | {"pro": ""}, tmp_path / "n.pth")
    assert load_network(tmp_path / "n.pth").pro


@pytest.mark.parametrize(
    "published",
    [
        PublishedUpCunet(3, (4, 8, 8, 8), pro=True),
        PublishedUpCunet(4, (4, 8, 8, 8)),
    ],
    ids=lambda published: f"{published.scale}x",
)
def test_the_export_takes_any_size(tmp_path: Path, published: PublishedUpCunet) -> None:
    import onnxruntime

    path = save_pth(trained(published), tmp_path / "n.pth")
    report = export_onnx(PretrainedModel(path, device="cpu"), tmp_path / "n.onnx", model_name="n")
    assert report.verification.ok
    assert OnnxModel(tmp_path / "n.onnx", device="cpu").spec.global_statistics, "its tiles have means of their own"
    session = onnxruntime.InferenceSession(tmp_path / "n.onnx", providers=["CPUExecutionProvider"])
    for size in ((20, 21), (34, 27)):
        x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
        (found,) = session.run(None, {"image": x.numpy()})
        np.testing.assert_allclose(found, load_network(path)(x), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize(("scale", "attention"), [(2, True), (3, True), (4, True), (2, False)])
def test_tiles_equal_the_whole_image(tmp_path: Path, scale: int, attention: bool) -> None:
    """Also with levels, tile by tile: no more pixels at once than the memory allows."""
    published = trained(PublishedUpCunet(scale, (4, 8, 8, 8), se=attention, pro=scale == 3))
    model = PretrainedModel(save_pth(published, tmp_path / "n.pth"), device="cpu")
    assert not model.spec.global_statistics
    image = np.random.default_rng(0).integers(0, 256, (200, 390, 3), np.uint8)
    image[:70] //= 4  # tiles with other means
    whole = model.run_pixels(image)
    most_pixels, runs, tiles = 200 * 260, list[int](), list[tuple[int, int]]()
    model.max_memory_bytes = most_pixels * model.bytes_per_pixel
    assert model.runs_in_tiles(*image.shape[:2])
    model.network.register_forward_pre_hook(lambda _, inputs: runs.append(inputs[0].shape[2] * inputs[0].shape[3]))
    with reporting_tiles(lambda done, count: tiles.append((done, count))):
        in_tiles = model.run_pixels(image)
    assert max(runs) <= most_pixels and tiles == [(0, 2), (1, 2), (2, 2)]
    assert in_tiles.shape == (200 * scale, 390 * scale, 3)
    assert np.abs(in_tiles.astype(int) - whole).max() <= 1
    floats = image.transpose(2, 0, 1)[None] / np.float32(127.5) - 1
    np.testing.assert_allclose(model.run(floats)[0].transpose(1, 2, 0).clip(-1, 1), whole / 127.5 - 1, atol=0.02)
    model.max_memory_bytes = 2**40
    np.testing.assert_array_equal(model.run_pixels(image), whole, "the means of another image were kept")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"unet2.conv3.seblock.conv1.weight": None}, "UpCunet, but unet2.conv3.seblock.conv1.weight is absent"),
        ({"unet1.conv_bottom.weight": torch.ones(8, 3, 6, 6)}, "unet1.conv_bottom.weight is 8×3×6×6 where 8×3×4×4"),
        ({"unet1.conv_bottom.weight": torch.ones(8)}, "unet1.conv_bottom.weight is 8, expected the weight of a conv"),
        ({"conv_final.weight": torch.ones(12, 8, 3, 3)}, "unet1.conv_bottom.weight is 8×3×4×4 where 8×8×4×4"),
        ({"unet1.conv2.conv.0.weight": torch.ones(9, 8, 3, 3)}, "unet1.conv2.conv.0.bias is 8 where 9"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, change: dict[str, Tensor | None], says: str) -> None:
    state = dict(PublishedUpCunet(2, (4, 8, 8, 8)).state_dict()) | change
    torch.save({key: tensor for key, tensor in state.items() if tensor is not None}, tmp_path / "n.pth")
    with pytest.raises(UserError, match=says):
        load_network(tmp_path / "n.pth")


@pytest.mark.parametrize(
    "published",
    [
        PublishedUpCunet(2, (4, 8, 16, 12)),
        PublishedUpCunet(2, (5, 8, 7, 4), channels=1, se=False),
        PublishedUpCunet(3, (4, 16, 8, 8)),
        PublishedUpCunet(4, (4, 8, 8, 16)),
    ],
    ids=["2x", "2x-without-attention", "3x", "4x"],
)
def test_files_of_ncnn(tmp_path: Path, published: PublishedUpCunet) -> None:
    trained(published)
    for parameter in published.parameters():
        if parameter.ndim > 1:
            parameter.data = parameter.data.half().float()
    x = torch.rand(1, published.unet1.conv1.conv[0].in_channels, 21, 26, generator=torch.Generator().manual_seed(1))
    found = load_network(save_ncnn(published, tmp_path / "n.param"))
    torch.testing.assert_close(found(x), published(x), rtol=TOLERANCE, atol=TOLERANCE)

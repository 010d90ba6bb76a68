"""The perceptual loss against an independent VGG that is built here from the table of layers in the paper."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import gan_tasks.losses.perceptual
from gan_tasks.datasets.errors import UserError
from gan_tasks.losses.perceptual import PIX2PIXHD_LAYERS, Perceptual, PerceptualConfig, layers_called, load_perceptual
from gan_tasks.pretrained.files.download import DownloadError

SHARED_WEIGHTS = Path(__file__).parents[3].parent / "shared" / "weights" / "vgg16_features.safetensors"

# Configurations D and E of the table in the paper: output channels, and "M" for max pooling.
TABLE = {
    "vgg16": [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"],
    "vgg19": [64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"],
}
# Indices in torchvision's `features` of the ReLU of each block's first convolution.
FIRST_RELUS = {"vgg16": (1, 6, 11, 18, 25), "vgg19": (1, 6, 11, 20, 29)}


def build_vgg(network: str) -> nn.Sequential:
    """Build all layers of `features`, with random weights that keep the scale of the signal."""
    layers: list[nn.Module] = []
    channels = 3
    for entry in TABLE[network]:
        if entry == "M":
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
        else:
            layers += [nn.Conv2d(channels, entry, kernel_size=3, padding=1), nn.ReLU(inplace=False)]
            channels = entry
    vgg = nn.Sequential(*layers)
    generator = torch.Generator().manual_seed(len(layers))
    for parameter in vgg.parameters():
        fan_in = parameter[0].numel()
        parameter.data.normal_(0, (2 / fan_in) ** 0.5 if parameter.dim() == 4 else 0.05, generator=generator)
    return vgg.requires_grad_(False)


def named(vgg: nn.Sequential) -> dict[str, Tensor]:
    return {f"features.{key}": value for key, value in vgg.state_dict().items()}


@pytest.fixture(scope="module", params=["vgg16", "vgg19"])
def network(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def vgg(network: str) -> nn.Sequential:
    return build_vgg(network)


@pytest.fixture(scope="module")
def weights(vgg: nn.Sequential) -> dict[str, Tensor]:
    return named(vgg)


def images(seed: int, channels: int = 3, size: int = 20) -> Tensor:
    return torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def normalised(images: Tensor) -> Tensor:
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    return ((images + 1) / 2 - mean) / deviation


def reference(vgg: nn.Sequential, layers: dict[int, float], image: Tensor, target: Tensor) -> Tensor:
    """Return Σ weight · L1 for layers given by their index."""
    total = torch.zeros(())
    for number, weight in layers.items():
        upto = vgg[: number + 1]
        total = total + weight * nn.functional.l1_loss(upto(normalised(image)), upto(normalised(target)))
    return total


def test_default_loss_is_that_of_pix2pixhd(network, vgg, weights):
    layers = dict(zip(FIRST_RELUS[network], (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0), strict=True))
    image, target = images(0), images(1)
    expected = reference(vgg, layers, image, target)
    torch.testing.assert_close(Perceptual(network, weights)(image, target), expected)


@pytest.mark.parametrize(
    ("name", "vgg16_number", "vgg19_number"),
    [("conv1_1", 0, 0), ("relu1_2", 3, 3), ("conv3_3", 14, 14), ("relu4_3", 22, 24), ("conv5_3", 28, 32)],
)
def test_layer_names_are_those_of_the_paper(network, vgg, weights, name, vgg16_number, vgg19_number):
    number = vgg16_number if network == "vgg16" else vgg19_number
    image, target = images(0), images(1)
    expected = reference(vgg, {number: 0.7}, image, target)
    torch.testing.assert_close(Perceptual(network, weights, {name: 0.7})(image, target), expected)


def test_conv5_4_of_vgg19_is_before_its_relu():
    vgg = build_vgg("vgg19")
    features = vgg[:35](normalised(images(0)))
    assert (features < 0).any()
    found = Perceptual("vgg19", named(vgg), {"conv5_4": 1.0})(images(0), images(1))
    torch.testing.assert_close(found, reference(vgg, {34: 1.0}, images(0), images(1)))


# Indices in torchvision's `features` of the last convolution of each block.
LAST_CONVS = {"vgg16": (2, 7, 14, 21, 28), "vgg19": (2, 7, 16, 25, 34)}


def test_layers_of_esrgan_and_real_esrgan_by_name(network, vgg, weights):
    """Wang et al. 2018: conv5_4. Wang et al. 2021: the last one of each block with weights 0.1, 0.1, 1, 1, 1."""
    image, target = images(0), images(1)
    for name, in_loss in (("esrgan", (0, 0, 0, 0, 1.0)), ("real-esrgan", (0.1, 0.1, 1.0, 1.0, 1.0))):
        layers = {number: weight for number, weight in zip(LAST_CONVS[network], in_loss, strict=True) if weight}
        found = Perceptual(network, weights, layers_called(name, network))(image, target)
        torch.testing.assert_close(found, reference(vgg, layers, image, target))
    assert layers_called("pix2pixhd", network) == PIX2PIXHD_LAYERS


def test_only_the_image_gets_gradients(network, weights):
    perceptual = Perceptual(network, weights)
    image, target = images(0).requires_grad_(), images(1).requires_grad_()
    perceptual(image, target).backward()
    assert image.grad is not None and image.grad.abs().sum() > 0
    assert target.grad is None
    assert not any(parameter.requires_grad for parameter in perceptual.parameters())


def test_loss_of_equal_images_is_zero(network, weights):
    assert Perceptual(network, weights)(images(0), images(0)).item() == 0


def test_gray_is_repeated_and_alpha_ignored(network, weights):
    perceptual = Perceptual(network, weights, {"relu2_1": 1.0})
    gray, other = images(0, channels=1), images(1, channels=1)
    expected = perceptual(gray.repeat(1, 3, 1, 1), other.repeat(1, 3, 1, 1))
    alpha = images(2, channels=1)
    torch.testing.assert_close(perceptual(gray, other), expected)
    torch.testing.assert_close(perceptual(torch.cat([gray, alpha], 1), other), expected)
    rgba = torch.cat([images(3), alpha], 1)
    torch.testing.assert_close(perceptual(rgba, images(4)), perceptual(images(3), images(4)))


def test_layers_after_the_deepest_one_are_neither_needed_nor_run(network, weights):
    first = {key: value for key, value in weights.items() if int(key.split(".")[1]) <= 5}
    perceptual = Perceptual(network, first, {"relu2_1": 1.0})
    small = images(0, size=2)  # too small for the third pooling
    assert perceptual(small, -small).isfinite()


def test_construction_does_not_change_the_global_random_state(network, weights):
    before = torch.get_rng_state()
    Perceptual(network, weights)
    assert torch.equal(torch.get_rng_state(), before)


def test_half_precision_weights_are_converted_to_float32(network, weights):
    halved = {key: value.half() for key, value in weights.items()}
    restored = {key: value.float() for key, value in halved.items()}
    image, target = images(0), images(1)
    expected = Perceptual(network, restored)(image, target)
    assert torch.equal(Perceptual(network, halved)(image, target), expected)
    assert expected.dtype == torch.float32


# --- weights that do not fit


def test_the_other_network_is_recognised(network, weights):
    other = "vgg19" if network == "vgg16" else "vgg16"
    with pytest.raises(UserError, match=f"weights of {network}.*--perceptual-network {network}"):
        Perceptual(other, weights, {"relu1_1": 1.0})


def test_missing_and_wrongly_shaped_tensors_are_named(network, weights):
    broken = {key: value for key, value in weights.items() if key != "features.5.bias"}
    broken["features.2.weight"] = torch.zeros(64, 64, 1, 1)
    with pytest.raises(UserError) as caught:
        Perceptual(network, broken)
    message = str(caught.value)
    assert "features.5.bias is missing" in message
    assert "features.2.weight is (64, 64, 1, 1) where (64, 64, 3, 3) is expected" in message


def test_tensors_of_another_model_are_refused():
    with pytest.raises(UserError, match=r"features\.0\.weight is missing"):
        Perceptual("vgg19", {"conv_first.weight": torch.zeros(1)})


def test_an_unknown_layer_is_refused(weights, network):
    with pytest.raises(ValueError, match="relu6_1"):
        Perceptual(network, weights, {"relu6_1": 1.0})


# --- files and the download


def test_weights_are_read_from_safetensors_and_pth(tmp_path, network, weights):
    with_classifier = {**weights, "classifier.0.weight": torch.zeros(2)}  # as in torchvision's file
    save_file(with_classifier, tmp_path / "w.safetensors")
    torch.save(with_classifier, tmp_path / "w.pth")
    expected = Perceptual(network, weights)(images(0), images(1))
    for name in ("w.safetensors", "w.pth"):
        config = PerceptualConfig(perceptual_network=network, perceptual_weights=tmp_path / name)
        assert torch.equal(load_perceptual(config)(images(0), images(1)), expected)


class RunsSomething:
    """Stands for the code that a malicious pickle runs when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_files_without_weights_are_refused_and_not_executed(tmp_path):
    (tmp_path / "text.pth").write_text("not found")
    (tmp_path / "empty.pth").touch()
    (tmp_path / "text.safetensors").write_text("not found")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"features.0.weight": RunsSomething(tmp_path / "ran")}, tmp_path / "malicious.pth")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(UserError, match=path.name):
            load_perceptual(PerceptualConfig(perceptual_weights=path))
    assert not (tmp_path / "ran").exists()
    with pytest.raises(UserError, match="there is no file"):
        load_perceptual(PerceptualConfig(perceptual_weights=tmp_path / "absent.pth"))


def test_without_a_file_the_weights_of_the_network_are_downloaded(tmp_path, monkeypatch, network, weights):
    asked = []

    def fetch(url: str, *, sha256: str, name: str, on_progress: object) -> Path:
        asked.append((url, sha256, name))
        torch.save(weights, tmp_path / name)
        return tmp_path / name

    monkeypatch.setattr(gan_tasks.losses.perceptual, "fetch", fetch)
    perceptual = load_perceptual(PerceptualConfig(perceptual_network=network))
    assert torch.equal(perceptual(images(0), images(1)), Perceptual(network, weights)(images(0), images(1)))
    ((url, sha256, name),) = asked
    assert url.startswith("https://")
    assert name == f"{network}-{sha256}.pth"


def test_failed_download_names_both_remedies(monkeypatch):
    def fetch(*args: object, **kwargs: object) -> Path:
        raise DownloadError("cannot reach it")

    monkeypatch.setattr(gan_tasks.losses.perceptual, "fetch", fetch)
    with pytest.raises(UserError, match=r"(?s)cannot reach it.*Connect.*--perceptual-weights PATH"):
        load_perceptual(PerceptualConfig())


def test_a_negative_weight_is_refused():
    with pytest.raises(UserError, match="perceptual is -1"):
        PerceptualConfig(perceptual=-1)


@pytest.mark.skipif(not SHARED_WEIGHTS.exists(), reason=f"{SHARED_WEIGHTS.name} is not beside this checkout")
def test_with_pretrained_weights_blur_is_worse_than_a_change_of_contrast():
    skimage_data = pytest.importorskip("skimage.data")
    vgg = build_vgg("vgg16")
    vgg.load_state_dict({k.removeprefix("features."): v.float() for k, v in load_file(SHARED_WEIGHTS).items()})
    config = PerceptualConfig(perceptual_network="vgg16", perceptual_weights=SHARED_WEIGHTS)
    perceptual = load_perceptual(config)
    photo = torch.from_numpy(skimage_data.astronaut()[100:196, 180:276]).permute(2, 0, 1)[None] / 127.5 - 1
    blurred = nn.functional.avg_pool2d(photo, 5, stride=1, padding=2, count_include_pad=False)
    layers = dict(zip(FIRST_RELUS["vgg16"], PIX2PIXHD_LAYERS.values(), strict=True))
    torch.testing.assert_close(perceptual(blurred, photo), reference(vgg, layers, blurred, photo))
    # Both images have the same L1. A change of contrast keeps the details, and blur removes them.
    change = (blurred - photo).abs().mean() * photo.sign()
    assert perceptual(photo - change, photo) < perceptual(blurred, photo)

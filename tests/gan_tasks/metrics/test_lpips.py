"""LPIPS against its definition, and the refusal of weights that are not the published ones."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import gan_tasks.metrics.feature_networks.published_weights
from gan_tasks.datasets.errors import UserError
from gan_tasks.metrics.lpips import CHANNELS, Lpips, load_lpips
from gan_tasks.pretrained.files.download import DownloadError

# torchvision's `features`: (channels out, kernel, stride, padding), each followed by a ReLU; "M" for max pooling.
ALEX = [(64, 11, 4, 2), "M", (192, 5, 1, 2), "M", (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1), "M"]
VGG = [
    n if n == "M" else (n, 3, 1, 1)
    for n in (64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3)
]
TAPS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}  # the ReLUs whose features are compared


def build(network: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels, generator = 3, torch.Generator().manual_seed(0)
    for entry in ALEX if network == "alex" else VGG:
        if entry == "M":
            layers.append(nn.MaxPool2d(3, 2) if network == "alex" else nn.MaxPool2d(2, 2))
            continue
        layers += [nn.Conv2d(channels, *entry), nn.ReLU()]
        channels = entry[0]
        for parameter in layers[-2].parameters():
            scale = (2 / parameter[0].numel()) ** 0.5 if parameter.dim() == 4 else 0.05
            parameter.data.normal_(0, scale, generator=generator)
    return nn.Sequential(*layers).requires_grad_(False)


def named(network: nn.Sequential) -> dict[str, Tensor]:
    return {f"features.{key}": value for key, value in network.state_dict().items()}


def linear(network: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1, generator=generator) for i, c in enumerate(CHANNELS[network])
    }


def photos(count: int, height: int = 67, width: int = 80, channels: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    image = torch.rand(count, channels, height, width, generator=generator) * 2 - 1
    return image, (image + 0.3 * torch.randn(image.shape, generator=generator)).clamp(-1, 1)


@pytest.fixture(scope="module", params=["alex", "vgg"])
def network(request) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def metric(network) -> Lpips:
    return Lpips(network, named(build(network)), linear(network))


def test_lpips_equals_its_published_definition(network, metric):
    image, target = photos(3)
    # The scaling layer of the published code: ImageNet's mean and deviation for values in [-1, 1].
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    a, b = ((x - shift) / scale for x in (image, target))
    weights, expected = iter(linear(network).values()), torch.zeros(3)
    for number, layer in enumerate(build(network)):
        a, b = layer(a), layer(b)
        if number in TAPS[network]:
            difference = functional.normalize(a, dim=1) - functional.normalize(b, dim=1)
            expected += (next(weights) * difference**2).sum(dim=1).mean(dim=(1, 2))
    torch.testing.assert_close(metric(image, target), expected, rtol=1e-4, atol=1e-6)


def test_equal_images_have_distance_zero_and_the_order_does_not_matter(metric):
    image, target = photos(2)
    assert metric(image, image).tolist() == [0, 0]
    torch.testing.assert_close(metric(image, target), metric(target, image))
    together, apart = (
        metric(image, target),
        torch.cat([metric(image[i : i + 1], target[i : i + 1]) for i in (0, 1)]),
    )
    torch.testing.assert_close(together, apart)


def test_a_small_change_is_a_small_distance(metric):
    image, target = photos(1)
    assert 0 < metric(image + 0.1 * (target - image), image).item() < metric(target, image).item()


def test_gray_is_repeated_and_autocast_changes_nothing(metric):
    image, target = photos(1, channels=1)
    expected = metric(image.expand(-1, 3, -1, -1), target.expand(-1, 3, -1, -1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(metric(image, target), expected)


def test_smallest_images_are_accepted_and_smaller_or_unequal_ones_refused(network, metric):
    least = 31 if network == "alex" else 16
    image, target = photos(1, least, least)
    assert metric(image, target).isfinite().all()
    for a, b in ((image[..., 1:], target[..., 1:]), (image, target[..., 1:])):
        with pytest.raises(ValueError, match=f"{least} px"):
            metric(a, b)


def test_missing_weights_are_named(network):
    without = {key: value for key, value in linear(network).items() if not key.startswith("lin3")}
    with pytest.raises(UserError, match="lin3"):
        Lpips(network, named(build(network)), without)
    other = "vgg" if network == "alex" else "alex"
    with pytest.raises(UserError, match="not the weights of"):
        Lpips(network, named(build(other)), linear(network))


def test_any_other_files_than_the_published_ones_are_refused(network, tmp_path, monkeypatch):
    other = tmp_path / "backbone.pth"
    torch.save(named(build(network)), other)
    with pytest.raises(UserError, match="must not be called LPIPS"):
        load_lpips(network, backbone=other)

    def offline(url, **options):
        raise DownloadError("cannot reach it")

    monkeypatch.setattr(gan_tasks.metrics.feature_networks.published_weights, "fetch", offline)
    with pytest.raises(UserError, match="give the path of that file"):
        load_lpips(network)


def test_files_are_downloaded_with_their_digests(network, tmp_path, monkeypatch):
    asked = []

    def fetch(url, *, sha256, name, on_progress):
        asked.append((name, len(sha256)))
        torch.save(linear(network) if name.startswith("lpips") else named(build(network)), tmp_path / name)
        return tmp_path / name

    monkeypatch.setattr(gan_tasks.metrics.feature_networks.published_weights, "fetch", fetch)
    image, target = photos(1)
    assert load_lpips(network)(image, target).item() > 0
    assert [length for _, length in asked] == [64, 64]

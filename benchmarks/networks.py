"""Measure every network of the suite in inference: plain PyTorch, PyTorch as `apply` runs it, and ONNX Runtime.

    python benchmarks/networks.py [--seconds 6] [--networks unet-256 srvgg-16 …] [--threads 2]

Plain PyTorch is eager float32 in NCHW, with PyTorch's own layers and the whole image at once. The three forms of a
network take turns in one process, so that a change in the machine's speed affects all of them; printed are medians,
and medians of the ratios of a round with their quartiles. Networks have full width and random weights. Those of the
metrics are not exported.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from published_sizes import dat_light, mi_gan, swinir_light
from torch import Tensor, nn

from gan_tasks.export.models.base import FloatImages
from gan_tasks.export.models.torch_model import TorchModel
from gan_tasks.export.onnx.apart.run import run_session
from gan_tasks.export.onnx.export import Graph, to_onnx
from gan_tasks.export.onnx.file import OnnxFile
from gan_tasks.export.onnx.providers import CPU, Configuration, start_session
from gan_tasks.losses.perceptual import BLOCK_CHANNELS, CONVS_PER_BLOCK, Network, Perceptual
from gan_tasks.metrics.feature_networks.inception import Inception2015
from gan_tasks.metrics.feature_networks.lite0 import EfficientNetLite0
from gan_tasks.metrics.features import frozen
from gan_tasks.networks import layers
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import Norm
from gan_tasks.networks.inpainting.context_encoder import context_encoder
from gan_tasks.networks.inpainting.deepfill import deepfill_v1, deepfill_v2
from gan_tasks.networks.inpainting.lama import lama
from gan_tasks.networks.inpainting.migan import MiGan
from gan_tasks.networks.inpainting.unet import unet
from gan_tasks.networks.sizes import SizedModule
from gan_tasks.networks.stylization import Decoder, Encoder, Stylizer, stylizer_spec
from gan_tasks.networks.super_resolution.convolutional import msr_resnet, rrdb, srresnet, srvgg
from gan_tasks.networks.super_resolution.hat import hat
from gan_tasks.networks.super_resolution.omnisr import omnisr
from gan_tasks.networks.super_resolution.real_cugan import RealCugan
from gan_tasks.networks.super_resolution.realplksr import realplksr
from gan_tasks.networks.super_resolution.span import span
from gan_tasks.networks.translation import TranslationNetwork, translation_generator
from gan_tasks.spec import InputSpec, ModelSpec, Use

WARM_UP_ROUNDS, FEWEST_ROUNDS = 2, 5
Run = Callable[[], FloatImages]


@dataclass(frozen=True)
class Subject:
    """A network of the table.

    size_px: height and width of its input.
    use: None for a network of features, which has no image to give.
    """

    make: Callable[[], nn.Module]
    size_px: int
    use: Use | None
    scale: int = 1

    def spec(self, network: nn.Module) -> ModelSpec:
        if isinstance(network, Stylizer):
            return stylizer_spec("benchmark", network)
        image, mask = InputSpec("image", "image", 3, "any"), InputSpec("mask", "mask", 1, "as first")
        inputs = (image, mask) if self.use == "inpaint" else (image,)
        spec = ModelSpec("benchmark", self.use or "translate", inputs, 3, scale=self.scale)
        if not isinstance(network, SizedModule):
            return spec
        return replace(
            spec,
            size_multiple=network.size_multiple,
            minimum_size=network.minimum_size,
            tile_multiple=network.tile_multiple,
            fixed_size=isinstance(network, MiGan),
        )


def translation(network: TranslationNetwork, norm: Norm) -> Subject:
    def make() -> Generator:
        return translation_generator(network, 3, 3, width=64, norm=norm, dropout=False, upsampling="transposed")

    return Subject(make, 256 if network == "unet-256" else 128, "translate")


class Vgg(nn.Module):
    """The features of the perceptual loss, up to relu5_1."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        weights, number, inputs = {}, 0, 3
        for convs, channels in zip(CONVS_PER_BLOCK[network], BLOCK_CHANNELS, strict=True):
            for _ in range(convs):
                weights[f"features.{number}.weight"] = torch.randn(channels, inputs, 3, 3) * (2 / (9 * inputs)) ** 0.5
                weights[f"features.{number}.bias"] = torch.zeros(channels)
                number, inputs = number + 2, channels
            number += 1
        self.network = Perceptual(network, weights)

    def forward(self, x: Tensor) -> Tensor:
        return self.network.features(x)["relu5_1"]


SUBJECTS = {
    "unet-256": translation("unet-256", "batch"),
    "resnet-9": translation("resnet-9", "instance"),
    "global": translation("global", "instance"),
    "rrdb-23": Subject(rrdb, 48, "upscale", 4),
    "srvgg-16": Subject(srvgg, 96, "upscale", 4),
    "msr-resnet": Subject(msr_resnet, 64, "upscale", 4),
    "srresnet": Subject(srresnet, 64, "upscale", 4),
    "span": Subject(span, 96, "upscale", 4),
    "realplksr-28": Subject(realplksr, 64, "upscale", 4),
    "omnisr": Subject(omnisr, 64, "upscale", 4),
    "dat-light": Subject(dat_light, 64, "upscale", 4),
    "swinir-light": Subject(swinir_light, 64, "upscale", 4),
    "hat": Subject(hat, 32, "upscale", 4),
    "real-cugan-2": Subject(partial(RealCugan, scale=2), 128, "upscale", 2),
    "deepfill-v1": Subject(deepfill_v1, 128, "inpaint"),
    "deepfill-v2": Subject(deepfill_v2, 128, "inpaint"),
    "context-encoder": Subject(context_encoder, 128, "inpaint"),
    "lama": Subject(lama, 128, "inpaint"),
    "inpainting-unet": Subject(unet, 128, "inpaint"),
    "mi-gan-256": Subject(mi_gan, 256, "inpaint"),
    "adain": Subject(lambda: Stylizer(Encoder(), Decoder()), 128, "stylize"),
    "vgg16": Subject(lambda: Vgg("vgg16"), 128, None),
    "vgg19": Subject(lambda: Vgg("vgg19"), 128, None),
    "inception-2015": Subject(Inception2015, 299, None),
    "efficientnet-lite0": Subject(EfficientNetLite0, 224, None),
}


def plain_form(network: nn.Module, images: list[FloatImages]) -> Run:
    """Return a function that runs the network with PyTorch's own layers."""
    own = layers.has_own_form

    def run() -> FloatImages:
        layers.has_own_form = lambda x: False
        try:
            with torch.inference_mode():
                output: FloatImages = network(*map(torch.from_numpy, images)).numpy()
        finally:
            layers.has_own_form = own
        return output

    return run


class OwnForm(TorchModel):
    """A network as a model that PyTorch runs."""

    def __init__(self, network: nn.Module, spec: ModelSpec) -> None:
        self.spec, self.title = spec, "the network"
        self.start(network, "cpu", "eval")

    def version(self) -> str:
        return ""


def own_form(network: nn.Module, subject: Subject, images: list[FloatImages]) -> Run:
    """Return a function that runs the network as gan-tasks does."""
    if subject.use is None:
        network = frozen(network)

        def features() -> FloatImages:
            with torch.inference_mode():
                output: FloatImages = network(torch.from_numpy(images[0])).numpy()
            return output

        return features
    model = OwnForm(network, subject.spec(network))
    return lambda: model.run_network(*images)


def onnx_form(network: nn.Module, subject: Subject, images: list[FloatImages], threads: int) -> Run:
    """Return a function that runs the exported network with ONNX Runtime."""
    spec = subject.spec(network)
    file = OnnxFile("network", to_onnx(Graph(network, spec)).SerializeToString(), {})
    session = start_session(file, Configuration(CPU, threads))
    feeds = {each.name: image for each, image in zip(spec.inputs, images, strict=True)}
    return lambda: run_session(session, feeds)


def measure(name: str, subject: Subject, seconds: float, threads: int) -> str:
    """Return the row of a network."""
    torch.manual_seed(0)
    network = subject.make().eval().requires_grad_(False)
    rng = np.random.default_rng(0)
    side = subject.size_px
    images = [
        rng.random((1, each.channels, side, side) if each.is_spatial else (1, each.channels), np.float32)
        for each in subject.spec(network).inputs
    ]
    if subject.use == "inpaint":
        images[1] = (images[1] > 0.7).astype(np.float32)
    forms = {
        "plain": plain_form(network, images),
        "own": own_form(copy.deepcopy(network), subject, images),
    }
    if subject.use is not None:
        forms["onnx"] = onnx_form(copy.deepcopy(network), subject, images, threads)
    np.testing.assert_allclose(forms["own"](), forms["plain"](), atol=1e-3, rtol=1e-3)
    taken: dict[str, list[float]] = {form: [] for form in forms}
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(taken["plain"]) < WARM_UP_ROUNDS + FEWEST_ROUNDS:
        for form, run in forms.items():
            start = time.perf_counter()
            run()
            taken[form].append(time.perf_counter() - start)
    taken = {form: times[WARM_UP_ROUNDS:] for form, times in taken.items()}
    cells = [f"{name}, {subject.size_px}²", f"{statistics.median(taken['plain']) * 1000:,.0f}"]
    for form in ("own", "onnx"):
        if form not in taken:
            cells += ["", ""]
            continue
        ratios = [plain / own for plain, own in zip(taken["plain"], taken[form], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        cells += [f"{statistics.median(taken[form]) * 1000:,.0f}", f"{middle:.2f}× ({low:.2f}–{high:.2f})"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6, help="duration of the measurement of each network")
    parser.add_argument("--threads", type=int, default=2, help="number of threads of every form")
    parser.add_argument("--networks", nargs="+", choices=SUBJECTS, default=list(SUBJECTS), help="networks to measure")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("| Network | Plain, ms | PyTorch, ms | Ratio | ONNX Runtime, ms | Ratio |\n|---|---|---|---|---|---|")
    for name in options.networks:
        print(measure(name, SUBJECTS[name], options.seconds, options.threads), flush=True)


if __name__ == "__main__":
    main()

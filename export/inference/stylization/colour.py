"""Keep the colours of an image that is restyled. Imports no torch."""

from __future__ import annotations

import numpy as np

from gan_tasks.datasets.images import Pixels, fit_channels
from gan_tasks.datasets.images.pixels import REC_601
from gan_tasks.export.models.resizing import strips

RGB = 3


def with_colours_of(image: Pixels, restyled: Pixels) -> Pixels:
    """Return the luminance of the restyled image with the colours of the image.

    Luminance-only transfer, Gatys et al. 2016, https://arxiv.org/abs/1606.05897. The difference of the luminances
    (Rec. 601) is added to red, green and blue, which keeps the chrominances; values are then clipped.

    Args:
        image: H×W×C uint8 or uint16. restyled: H×W×3 or H×W×4 of the same type; alpha is kept.
    """
    result, most = restyled.copy(), np.iinfo(restyled.dtype).max
    for start, stop in strips(*image.shape[:2]):
        colour = fit_channels(image[start:stop], RGB).astype(np.float32)
        difference = (restyled[start:stop, :, :RGB].astype(np.float32) - colour) @ REC_601
        result[start:stop, :, :RGB] = np.rint(np.clip(colour + difference[..., None], 0, most))
    return result

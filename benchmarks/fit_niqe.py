"""Fit the natural scene model of `niqe_own_fit` to free photographs, and write the file that the package contains.

    python benchmarks/fit_niqe.py [FILE]

The photographs are files of the scikit-image wheel. According to its documentation astronaut (NASA) and rocket
(SpaceX) are in the public domain; the others are CC0.
"""

import sys
from pathlib import Path

import numpy as np
import skimage.data

from gan_tasks.metrics import niqe

PHOTOS = ("astronaut", "brick", "camera", "chelsea", "coffee", "grass", "gravel", "rocket")
STRIDE_PX = 24


def fit_model() -> niqe.NaturalModel:
    """Fit the model to the photographs."""
    photos = [getattr(skimage.data, name)() for name in PHOTOS]
    return niqe.fit([photo.reshape(*photo.shape[:2], -1) for photo in photos], stride_px=STRIDE_PX)


if __name__ == "__main__":
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(niqe.__file__).with_name(niqe.FIT_FILE)
    model = fit_model()
    np.savez(out, mean=model.mean, covariance=model.covariance)
    print(f"{out}: condition number {np.linalg.cond(model.covariance):.2g}")

"""Fit the natural model of `niqe_own_fit` to free photographs and write the file that comes with the package.

    python benchmarks/fit_niqe.py [FILE]

The photographs are in scikit-image's wheel. By its documentation astronaut (NASA) and rocket (SpaceX) are in the
public domain; the others are CC0.
"""

import sys
from pathlib import Path

import numpy as np
import skimage.data

from gan_tasks.metrics import niqe

PHOTOS = ("astronaut", "brick", "camera", "chelsea", "coffee", "grass", "gravel", "rocket")
STRIDE_PX = 24


def fitted() -> niqe.NaturalModel:
    photos = [getattr(skimage.data, name)() for name in PHOTOS]
    return niqe.fit([photo.reshape(*photo.shape[:2], -1) for photo in photos], stride_px=STRIDE_PX)


if __name__ == "__main__":
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(niqe.__file__).with_name(niqe.FIT_FILE)
    model = fitted()
    np.savez(out, mean=model.mean, covariance=model.covariance)
    print(f"{out}: condition number {np.linalg.cond(model.covariance):.2g}")

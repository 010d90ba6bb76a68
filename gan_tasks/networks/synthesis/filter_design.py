"""Low-pass FIR filters of a given cut-off frequency and transition band, with Kaiser windows.

A sinc (along a row) or a jinc (radially) is the ideal low-pass filter. The window limits it to a number of taps.
Kaiser 1974; Karras et al. 2021, appendix C, https://arxiv.org/abs/2106.12423. Frequencies and rates are in cycles and
samples per unit of length, such as the side of the image.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Taps = NDArray[np.floating[Any]]


def low_pass(taps: int, *, cutoff: float, width: float, rate: float) -> Taps:
    """Return a filter to be applied along each axis, of the sum 1.

    cutoff: the frequency at which half of the amplitude passes.
    width: of the transition band around it.
    rate: samples per unit.
    """
    row: Taps = np.sinc(2 * cutoff * positions(taps, rate)) * kaiser_window(taps, width / rate)
    return row / float(row.sum())


def radial_low_pass(taps: int, *, cutoff: float, width: float, rate: float) -> Taps:
    """Return a filter taps × taps of the sum 1 that lets frequencies up to the cut-off through in each direction.

    taps: an even number. For the rest see `low_pass`.
    """
    window = kaiser_window(taps, width / rate)
    radius = np.hypot(*np.meshgrid(positions(taps, rate), positions(taps, rate)))
    square: Taps = bessel_j1(2 * math.pi * cutoff * radius) / radius * np.outer(window, window)
    return square / float(square.sum())


def positions(taps: int, rate: float) -> Taps:
    """Return the positions of the taps around 0."""
    return (np.arange(taps) - (taps - 1) / 2) / rate


def kaiser_window(taps: int, width: float) -> Taps:
    """Return Kaiser's window for a transition band of a width in cycles per sample.

    Kaiser's formulas give the attenuation in dB that so many taps reach, and the parameter β of the window for it.
    """
    attenuation = 2.285 * (taps - 1) * 2 * math.pi * width + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    else:
        above = max(0.0, attenuation - 21)
        beta = 0.5842 * above**0.4 + 0.07886 * above
    return np.kaiser(taps, beta)


def bessel_j1(x: Taps) -> Taps:
    """Return the Bessel function J₁ of moderate arguments, by Bessel's integral ∫cos(τ - x·sin τ)dτ/π over [0, π].

    The mean over a period of a smooth periodic function, at n points, is exact but for frequencies of n and more.
    """
    points = 64 + 4 * math.ceil(np.abs(x).max(initial=0))
    angles = 2 * math.pi * np.arange(points) / points
    waves: Taps = np.cos(angles - x[..., None] * np.sin(angles)).mean(-1)
    return waves

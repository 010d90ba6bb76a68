"""The low-pass filters, against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import scipy.special

from gan_tasks.networks.synthesis.filter_design import bessel_j1, kaiser_window, low_pass, radial_low_pass


@pytest.mark.parametrize("taps", [4, 12, 24, 48])
@pytest.mark.parametrize(("cutoff", "width", "rate"), [(2, 12.6, 32), (11.3, 9.8, 64), (512, 240, 2048)])
def test_filters_equal_scipys(taps: int, cutoff: float, width: float, rate: float) -> None:
    made = low_pass(taps, cutoff=cutoff, width=width, rate=rate)
    np.testing.assert_allclose(made, scipy.signal.firwin(taps, cutoff, width=width, fs=rate), atol=1e-12)


@pytest.mark.parametrize("width", [0.001, 0.05, 0.1, 0.4])
def test_windows_of_little_and_much_attenuation_equal_scipys(width: float) -> None:
    beta = scipy.signal.kaiser_beta(scipy.signal.kaiser_atten(12, 2 * width))
    np.testing.assert_allclose(kaiser_window(12, width), scipy.signal.windows.kaiser(12, beta, sym=True), atol=1e-12)


def test_the_bessel_function_equals_scipys() -> None:
    x = np.linspace(-150, 150, 501).reshape(3, 167)
    np.testing.assert_allclose(bessel_j1(x), scipy.special.j1(x), atol=1e-12)


def test_a_radial_filter_is_the_same_in_all_directions() -> None:
    taps, rate = 24, 64
    filter = radial_low_pass(taps, cutoff=8, width=8, rate=rate)
    assert filter.sum() == pytest.approx(1)
    places = (np.arange(taps) - (taps - 1) / 2) / rate

    def passes(frequency: float, degrees: float) -> float:
        x, y = frequency * np.cos(np.deg2rad(degrees)), frequency * np.sin(np.deg2rad(degrees))
        return float((filter * np.cos(2 * np.pi * (x * places + y * places[:, None]))).sum())

    separable = low_pass(taps, cutoff=8, width=8, rate=rate)
    for frequency, amplitude in ((3, 1), (8, 0.5), (14, 0)):
        answers = [passes(frequency, degrees) for degrees in (0, 20, 45, 90)]
        assert answers == pytest.approx([amplitude] * 4, abs=0.06)
        assert np.ptp(answers) < 0.02
    diagonal = (separable * np.cos(2 * np.pi * 8 * np.sqrt(0.5) * places)).sum() ** 2
    assert diagonal > 0.7, "a separable filter lets more through along the diagonal"

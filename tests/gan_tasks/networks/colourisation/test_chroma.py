"""Colours of a given luma: the luma comes back exactly, and the colours stay inside their range."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gan_tasks.datasets.images import fit_channels, to_float, to_uint8
from gan_tasks.networks.colourisation.chroma import chroma_of, with_chroma


def gray_and_wild_chroma() -> tuple[np.ndarray, Tensor]:
    """All levels of gray as H×W×1 bytes, and chroma from none to far outside the range."""
    gray = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 60, axis=1)
    scale = torch.linspace(0, 3, 60)
    chroma = torch.randn(1, 2, 256, 60, generator=torch.Generator().manual_seed(0)) * scale
    return gray, chroma


def test_the_luma_comes_back_to_the_rounding_of_bytes_for_any_chroma() -> None:
    gray, chroma = gray_and_wild_chroma()
    image = with_chroma(torch.from_numpy(to_float(gray))[None], chroma)[0]
    assert image.abs().max() <= 1
    written = fit_channels(to_uint8(image.numpy()), 1)
    assert np.abs(written.astype(int) - gray).max() <= 1
    precise = (image * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=0)
    torch.testing.assert_close(precise, torch.from_numpy(to_float(gray))[0], rtol=0, atol=1e-4)


def test_chroma_that_fits_comes_back_and_other_chroma_keeps_its_hue() -> None:
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    luma = (image * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=1, keepdim=True)
    torch.testing.assert_close(with_chroma(luma, chroma_of(image)), image, rtol=0, atol=1e-4)
    luma = luma.clamp(-0.9, 0.9)
    strong = chroma_of(image) * 50
    scaled = chroma_of(with_chroma(luma, strong))
    direction, wanted = (each / each.norm(dim=1, keepdim=True) for each in (scaled, strong))
    torch.testing.assert_close(direction, wanted, rtol=0, atol=1e-3)
    assert (with_chroma(luma, strong).abs().amax(dim=1) > 0.999).all(), "scaled no further than to the limit"


def test_gradients_pass_inside_and_outside_of_the_range() -> None:
    gray, chroma = gray_and_wild_chroma()
    chroma.requires_grad_()
    with_chroma(torch.from_numpy(to_float(gray))[None], chroma).square().sum().backward()
    assert chroma.grad is not None and torch.isfinite(chroma.grad).all()
    assert (chroma.grad[..., 10:-10, 1:].abs().sum(dim=1) > 0).float().mean() > 0.95

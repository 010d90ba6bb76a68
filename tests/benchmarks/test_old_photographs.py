"""`benchmarks/old_photographs.py`: photographs that are made old, and the figures after each step."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import old_photographs
import pytest
import torch
from handmade_onnx import write_gain, write_onnx
from numpy.typing import NDArray
from old_photographs import aged, main
from PIL import Image
from shipped import data

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, read, to_float, write
from gan_tasks.metrics.distribution import kernel_distance
from gan_tasks.metrics.features import FeatureNetwork

RNG = np.random.default_rng(0)
EXACT = {"size_multiple": 1, "minimum_size": 1}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


def write_photos(folder: Path, count: int = 5, darkest: int = 0) -> Path:
    """Write soft pictures in colour, of sides that are not even, and a gray one, which is left out."""
    folder.mkdir()
    for number in range(count):
        small = RNG.integers(darkest, 256, (5, 6, 3), np.uint8)
        soft = Image.fromarray(small).resize((49, 41), Image.Resampling.BICUBIC)
        write(folder / f"{number}.png", Picture(np.asarray(soft)))
    write(folder / "gray.png", Picture(np.full((40, 40, 3), 90, np.uint8)))
    return folder


class MeanColour(torch.nn.Module):
    """Features without weights: the mean of each channel, 1×3."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.ones(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(2, 3))


def features(folder: Path) -> NDArray[np.float64]:
    """The features of the photographs in colour."""
    return np.stack([to_float(read(path).pixels).mean(axis=(1, 2)) for path in sorted(folder.glob("[0-9]*.png"))])


def test_results_are_compared_with_other_photographs_as_sets(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = FeatureNetwork("mean colour", MeanColour(), lambda pixels: torch.from_numpy(to_float(pixels)))
    monkeypatch.setattr(data, "feature_network", lambda: network)
    monkeypatch.setattr(old_photographs, "aged", lambda photo, steps, scale, rng: photo // 2)
    others, model = write_photos(tmp_path / "others", 8, darkest=90), write_gain(tmp_path / "model.onnx", (2, 2, 2))
    arguments = ["--steps", "restore", "--restore", str(model), "--out", str(tmp_path / "out")]
    main([str(photos), "--real", str(others), *arguments])
    nothing, restored = json.loads((tmp_path / "out" / "figures.json").read_text())["rows"]
    expected = kernel_distance(features(others), features(photos)).value
    assert expected > 0.1 and restored["kernel"]["value"] == pytest.approx(expected, abs=0.02)
    assert nothing["kernel"]["value"] > expected + 0.5
    assert restored["difference"]["difference"] < -0.5
    said = capsys.readouterr().out
    assert "kernel distance to 8 photographs of others" in said
    assert said.rstrip().splitlines()[-1].split(" | ")[-1].startswith("+"), "nearer is a gain"
    with pytest.raises(UserError, match=r"few has 3 photographs in colour: give 4"):
        main([str(photos), "--real", str(write_photos(tmp_path / "few", 3)), *arguments])


def test_the_gain_of_each_step_is_over_doing_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(old_photographs, "aged", lambda photo, steps, scale, rng: photo[::scale, ::scale] // 2)
    restore = write_gain(tmp_path / "restore.onnx", (2, 2, 2), model_name="brighter")
    upscale = write_onnx(tmp_path / "up.onnx", model_name="twice", task="super-resolution", scale=2, **EXACT)
    main(
        [
            str(photos),
            "--out",
            str(tmp_path / "out"),
            "--steps",
            "restore",
            "upscale",
            "--restore",
            str(restore),
            "--upscale",
            str(upscale),
        ]
    )
    found = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert found["photographs"] == 5 and found["rows"][0]["kernel"] is None
    nothing, brighter, enlarged = found["rows"]
    assert [row["name"] for row in found["rows"]] == ["nothing", "brighter", "twice"]
    assert nothing["psnr_db"]["gain"] == 0
    assert brighter["psnr_db"]["gain_low"] > 5
    for row in found["rows"]:
        assert row["psnr_db"]["value"] == pytest.approx(nothing["psnr_db"]["value"] + row["psnr_db"]["gain"])
    assert enlarged["ssim"]["value"] != brighter["ssim"]["value"]
    assert "| brighter |" in capsys.readouterr().out
    assert read(tmp_path / "out" / "grid.png").pixels.shape[1] > 4 * 128


def test_a_photograph_is_made_old_in_what_the_steps_are_for(photos: Path) -> None:
    photo = read(photos / "0.png").pixels[:40, :48]
    rng = np.random.default_rng(0)
    assert aged(photo, ("colourise",), 1, rng).shape == (40, 48, 1)
    assert aged(photo, ("upscale",), 2, rng).shape == (20, 24, 3)
    scratched = aged(photo, ("descratch",), 1, rng)
    changed = (scratched != photo).any(axis=2).mean()
    assert 0.005 < changed < 0.6, "scratches leave the rest as it is"
    noisy = aged(photo, ("restore",), 1, rng)
    assert (noisy != photo).any(axis=2).mean() > 0.9
    np.testing.assert_array_equal(
        aged(photo, ("restore",), 1, np.random.default_rng(3)), aged(photo, ("restore",), 1, np.random.default_rng(3))
    )

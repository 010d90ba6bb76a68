"""The preview of a training: it writes exactly the samples of the first steps, and trains nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import ALL_TASKS, TINY, tiny_task

from gan_tasks.apps.cli.main import main
from gan_tasks.datasets.images import Picture, read, to_uint8, write
from gan_tasks.tasks.base import Task
from gan_tasks.training.config import TrainConfig
from gan_tasks.training.loop import train
from gan_tasks.training.preview import SAMPLES, preview

CONFIG = TrainConfig(
    device="cpu",
    precision="fp32",
    workers=0,
    sample_every_steps=0,
    evaluate_every_steps=0,
    checkpoint_every_steps=0,
    quiet=True,
)
CASES = [(name, ()) for name in ALL_TASKS]
CASES += [
    ("super-resolution", ("--degradation", "real-esrgan", "--degrade-on", place)) for place in ("workers", "device")
]


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("batch_size", [1, 6])
def test_preview_writes_the_samples_of_the_first_steps(
    name: str, options: tuple[str, ...], batch_size: int, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are six images, so that 16 samples need three epochs and the last batch of 6 is used in part."""
    task = tiny_task(name, *options, "--batch-size", str(batch_size), "--epochs", "50")
    paths = preview(task, data=pairs, out=tmp_path / "preview", config=CONFIG)

    used: list[Any] = []
    prepared = type(task).prepared

    def recording(self: Task[Any, Any], x: Any) -> Any:
        x = prepared(self, x)
        used.extend(zip(*x, strict=True))
        return x

    monkeypatch.setattr(type(task), "prepared", recording)
    train(task, data=pairs, out=tmp_path / "run", config=replace(CONFIG, max_steps=-(-SAMPLES // batch_size)))
    sample = task.open_data(pairs, "train", augment=True, seed=0)[0][(0, 0)]
    fields = [name for name, image in sample._asdict().items() if image.ndim == 3]  # type: ignore[attr-defined]
    assert [path.name for path in paths] == [f"{i:03d}-{field}.png" for i in range(SAMPLES) for field in fields]
    assert sorted(paths) == sorted((tmp_path / "preview").iterdir())
    found = [read(path).pixels for path in paths]
    expected = [to_uint8(image.numpy()) for sample in used[:SAMPLES] for image in sample if image.ndim == 3]
    for pixels, image in zip(found, expected, strict=True):
        np.testing.assert_array_equal(pixels, image)


@pytest.mark.parametrize("name", ALL_TASKS)
def test_the_preview_option_trains_nothing(
    name: str, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ("--data", str(pairs), "--out", str(tmp_path / "run"), "--preview", str(tmp_path / "preview"))
    with pytest.raises(SystemExit) as exited:
        main(["train", name, *folders, *TINY[name], "--device", "cpu"])
    assert exited.value.code == 0
    printed = capsys.readouterr().err
    fields = {"inpainting": 3, "restoration": 3, "noise-to-image": 1, "synthesis": 1}.get(name, 2)
    assert (
        f"{fields * 16} images in" in printed
        and "nothing was trained" in printed
        and any(f"6 {things}" in printed for things in ("pairs", "images", "colour photographs"))
    )
    assert [path.name for path in tmp_path.iterdir()] == ["preview"]


def test_preview_writes_the_first_three_of_many_channels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 5), dtype=np.uint8)
    for side, suffix in (("A", "tif"), ("B", "png")):
        (tmp_path / "train" / side).mkdir(parents=True)
        image = pixels if side == "A" else pixels[..., :3]
        write(tmp_path / "train" / side / f"a.{suffix}", Picture(np.ascontiguousarray(image)))
    task = tiny_task("pix2pix", "--source-channels", "0", "--crop-size", "0", "0", "--no-flip")
    preview(task, data=tmp_path, out=tmp_path / "preview", config=CONFIG)
    np.testing.assert_array_equal(read(tmp_path / "preview" / "000-source.png").pixels, pixels[..., :3])


def test_preview_refuses_data_as_training_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ("--data", str(tmp_path), "--out", str(tmp_path / "run"), "--preview", str(tmp_path / "preview"))
    with pytest.raises(SystemExit) as exited:
        main(["train", "super-resolution", *folders])
    assert exited.value.code == 2 and "holds no train images" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

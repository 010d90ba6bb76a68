"""Colours, alpha and coding of an image file on the way through a model, with models that change nothing."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from gan_tasks.datasets.images import Coding, Picture, fit_channels, read, write
from gan_tasks.datasets.images.colour_spaces import BT709, SRGB_CURVE, Curve, Primaries, gray_profile, rgb_profile
from gan_tasks.export.inference.predictor import PredictOptions, Predictor
from gan_tasks.export.models.base import FloatImages, Model
from gan_tasks.spec import InputSpec, ModelSpec

RNG = np.random.default_rng(0)
GRAY_PROFILE = gray_profile(Curve(1.8))
P3_PROFILE = rgb_profile(SRGB_CURVE, Primaries((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)))
SRGB = ImageCms.createProfile("sRGB")
LINEAR = (b"gAMA", struct.pack(">I", 100_000))
PQ = (b"cICP", bytes((9, 16, 0, 1)))
MASK = np.zeros((24, 30), np.bool_)
MASK[5:12, 8:20] = True


class Same(Model):
    """A model that returns its input, or green as gray, or gray as RGB, and black in a mask."""

    title, max_memory_bytes = "same", 2**30

    def __init__(self, in_channels: int, out_channels: int, *, fills: bool = False) -> None:
        image = InputSpec("image", "image", in_channels, "any")
        inputs = (image, InputSpec("mask", "mask", 1, "as first")) if fills else (image,)
        self.spec = ModelSpec("toy", "inpaint" if fills else "translate", inputs, out_channels)

    def version(self) -> str:
        return self.title

    def runs_in_tiles(self, height: int, width: int, *, count: int = 1) -> bool:
        return False

    def run(self, *inputs: FloatImages) -> FloatImages:
        image = inputs[0] if len(inputs) == 1 else np.where(inputs[1] == 1, np.float32(-1), inputs[0])
        if image.shape[1] == self.spec.out_channels:
            return image
        return np.repeat(image, 3, axis=1) if image.shape[1] == 1 else image[:, 1:2]


def made(model: Model, source: Path, out: Path, *masks: Path) -> Picture:
    """Run the model on files, as `apply` does; return the result's file."""
    predictor = Predictor(model)
    names = [given.name for given in model.spec.inputs]
    opened = predictor.read(dict(zip(names, (source, *masks), strict=True)))
    predictor.write(out, predictor.predict(opened.inputs, PredictOptions()), like=opened.image)
    return read(out)


def looks(path: Path) -> NDArray[np.int64]:
    """Return the colours on an sRGB screen, by LittleCMS; 8 bits."""
    picture = read(path)
    pixels = picture.pixels[..., : 1 if picture.pixels.shape[2] <= 2 else 3]
    if pixels.dtype == np.uint16:
        pixels = (pixels // 257).astype(np.uint8)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if picture.icc_profile is not None:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.icc_profile))
        image = ImageCms.profileToProfile(image, profile, SRGB, outputMode="RGB")
    return np.asarray(image.convert("RGB")).astype(int)


def soft(channels: int, dtype: type) -> NDArray[np.generic]:
    """Return smooth levels that are not very dark."""
    levels = np.stack([np.linspace(0.15 + 0.1 * channel, 0.9, 24 * 30) for channel in range(channels)], axis=1)
    return np.rint(levels.reshape(24, 30, channels) * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("tag", ["profile", "gAMA"])
@pytest.mark.parametrize("model", [(1, 1), (3, 3), (1, 3), (3, 1)], ids=str)
def test_a_result_looks_like_its_input(
    model: tuple[int, int], tag: str, channels: int, dtype: type, tmp_path: Path
) -> None:
    before, after = tmp_path / "in.png", tmp_path / "out.png"
    profile = GRAY_PROFILE if channels <= 2 else P3_PROFILE
    pixels = soft(channels, dtype)
    write(
        before, Picture(pixels, profile) if tag == "profile" else Picture(pixels, coding=Coding(png_chunks=(LINEAR,)))
    )
    result = made(Same(*model), before, after)
    expected = looks(before) if channels <= 2 or model == (3, 3) else fit_channels(looks(before), 1)
    if channels >= 3 and model == (3, 1):
        return  # the model decides what the gray levels mean
    difference = looks(after) - expected
    assert np.abs(difference).max() <= 3 and abs(difference.mean()) < 1
    fits = len({count <= 2 for count in (channels, *model)}) == 1
    assert result.icc_profile == (read(before).icc_profile if fits else None)
    if channels in (2, 4):
        np.testing.assert_array_equal(result.pixels[..., -1], pixels[..., -1])
    assert result.pixels.dtype == dtype


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_the_gamma_of_a_png_is_kept_in_every_format(suffix: str, tmp_path: Path) -> None:
    pixels = soft(3, np.uint8)
    write(tmp_path / "in.png", Picture(pixels, coding=Coding(png_chunks=(LINEAR,))))
    made(Same(3, 3), tmp_path / "in.png", tmp_path / f"out{suffix}")
    light = pixels / 255
    expected = np.where(light > 0.0031308, 1.055 * light ** (1 / 2.4) - 0.055, 12.92 * light) * 255
    np.testing.assert_allclose(looks(tmp_path / f"out{suffix}"), expected, atol=8)
    if suffix == ".png":
        assert Image.open(tmp_path / "out.png").info["gamma"] == 1.0  # for programs that ignore profiles


def test_hdr_is_said_and_its_label_kept_in_a_png(tmp_path: Path) -> None:
    write(tmp_path / "in.png", Picture(soft(3, np.uint16), coding=Coding(png_chunks=(PQ,))))
    predictor = Predictor(Same(3, 3))
    opened = predictor.read({"image": tmp_path / "in.png"})
    assert any("HDR with PQ" in note and "only a PNG result keeps" in note for note in opened.notes)
    predictor.write(tmp_path / "out.png", predictor.predict(opened.inputs), like=opened.image)
    assert read(tmp_path / "out.png").coding.png_chunks == (PQ,)


def palette_png(path: Path, **options: object) -> Path:
    image = Image.fromarray(RNG.integers(0, 4, (24, 30), dtype=np.uint8), "L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette(RNG.integers(0, 256, 12, dtype=np.uint8).tobytes())
    image.save(path, **options)
    return path


def written(path: Path, channels: int, dtype: type, coding: Coding | None = None) -> Path:
    pixels = RNG.integers(0, np.iinfo(dtype).max, (24, 30, channels)).astype(dtype)
    if channels in (2, 4):
        pixels[:, :10, -1] = 0  # transparent pixels have colours too
    write(path, Picture(pixels, coding=coding or Coding()))
    return path


LOSSLESS = Coding(is_lossless_webp=True)
FILES = {
    "lossless webp": lambda folder: written(folder / "in.webp", 3, np.uint8, LOSSLESS),
    "lossless webp with alpha": lambda folder: written(folder / "in.webp", 4, np.uint8, LOSSLESS),
    "16-bit png": lambda folder: written(folder / "in.png", 3, np.uint16),
    "png with gamma": lambda folder: written(folder / "in.png", 3, np.uint8, Coding(png_chunks=(LINEAR,))),
    "gray png with gamma": lambda folder: written(folder / "in.png", 1, np.uint8, Coding(png_chunks=(LINEAR,))),
    "palette png": lambda folder: palette_png(folder / "in.png"),
    "palette png with transparency": lambda folder: palette_png(folder / "in.png", transparency=b"\0\x80\xff\x10"),
    "16-bit tiff with alpha": lambda folder: written(folder / "in.tif", 4, np.uint16),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_fill_returns_unmasked_pixels_to_the_bit(kind: str, channels: int, tmp_path: Path) -> None:
    before = FILES[kind](tmp_path)
    write(tmp_path / "mask.png", Picture(MASK[..., None].astype(np.uint8) * np.uint8(255)))
    given = read(before)
    result = made(
        Same(channels, channels, fills=True), before, tmp_path / f"out{before.suffix}", tmp_path / "mask.png"
    )
    assert result.pixels.dtype == given.pixels.dtype and result.icc_profile == given.icc_profile
    assert result.coding == given.coding
    np.testing.assert_array_equal(result.pixels[~MASK], given.pixels[~MASK])
    colours = 1 if given.pixels.shape[2] <= 2 else 3
    assert not np.array_equal(result.pixels[MASK][:, :colours], given.pixels[MASK][:, :colours])


def test_the_second_image_is_converted_to_srgb(tmp_path: Path) -> None:
    """A style has no profile of its own in the result."""
    pixels = soft(3, np.uint8)
    write(tmp_path / "image.png", Picture(pixels))
    write(tmp_path / "style.png", Picture(pixels, P3_PROFILE))
    model = Same(3, 3)
    model.spec = ModelSpec("toy", "stylize", (*model.spec.inputs, InputSpec("style", "image", 3, "any")), 3)
    opened = Predictor(model).read({"image": tmp_path / "image.png", "style": tmp_path / "style.png"})
    np.testing.assert_allclose(opened.inputs["style"].astype(int), looks(tmp_path / "style.png"), atol=1)
    assert np.array_equal(opened.inputs["image"], pixels)


def test_a_profile_of_srgb_is_no_conversion() -> None:
    """So that the other tests of this file cannot pass by profiles that say nothing."""
    assert np.abs(looks_of(GRAY_PROFILE, 1) - soft(1, np.uint8)).max() > 10
    assert np.abs(looks_of(P3_PROFILE, 3) - soft(3, np.uint8)).max() > 5
    assert np.abs(looks_of(rgb_profile(SRGB_CURVE, BT709), 3) - soft(3, np.uint8)).max() == 0


def looks_of(profile: bytes, channels: int) -> NDArray[np.int64]:
    pixels = soft(channels, np.uint8)
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    converted = ImageCms.profileToProfile(image, source, SRGB, outputMode="RGB")
    return np.asarray(converted).astype(int)[..., :channels]

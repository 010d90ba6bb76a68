"""`gan-tasks apply --style` and what the runtime adds to the network: colours kept, and too large images reduced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from handmade_onnx import write_onnx, write_stylizer
from numpy.typing import NDArray
from tiny import photo

pytest.importorskip("onnxruntime")

from gan_tasks.apps.cli.main import main
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, Pixels, fit_channels, icc, read, write
from gan_tasks.datasets.images.colour_spaces import SRGB_CURVE, Primaries, rgb_profile
from gan_tasks.datasets.images.pixels import REC_601
from gan_tasks.export.inference.predictor import PredictOptions, Predictor
from gan_tasks.export.inference.stylization.options import StylizeOptions
from gan_tasks.export.load import load
from gan_tasks.export.models.base import FloatImages, Model
from gan_tasks.spec import InputSpec, ModelSpec

IMAGE, STYLE = InputSpec("image", "image", 3, "any"), InputSpec("style", "image", 3, "any")
STRENGTH = InputSpec("style_strength", "weight", 1, "none", optional=True)


class Tint(Model):
    """Gives an image the mean colour of the style, by the style strength. It has memory for so many pixels."""

    def __init__(self, most_pixels: int = 10**9) -> None:
        self.spec, self.title = ModelSpec("toy", "stylize", (IMAGE, STYLE, STRENGTH), 3), "Tint"
        self.most_pixels = most_pixels
        self.shapes: list[tuple[int, ...]] = []

    def version(self) -> str:
        return "sha256:0"

    def runs_in_tiles(self, height: int, width: int, *, count: int = 1) -> bool:
        return height * width > self.most_pixels

    def run(self, *inputs: FloatImages) -> FloatImages:
        image, style, strength = inputs
        self.shapes = [image.shape[2:], style.shape[2:]]
        share = strength[..., None, None]
        return image * (1 - share) + style.mean(axis=(2, 3), keepdims=True) * share


def main_code(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, words)))
    return int(ended.value.code or 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_stylizer(tmp_path / "tint.onnx")
    (tmp_path / "photos").mkdir()
    for name, size in (("a", (20, 30)), ("b", (33, 17))):
        write(tmp_path / "photos" / f"{name}.png", Picture(photo(*size, seed=len(name))))
    write(tmp_path / "red.png", Picture(np.full((9, 12, 3), (200, 10, 10), np.uint8)))
    write(tmp_path / "blue.png", Picture(np.full((30, 12, 3), (10, 10, 200), np.uint8)))
    return tmp_path


def tinted(image: Pixels, colour: NDArray[np.float64]) -> NDArray[np.float64]:
    return image / 2 + colour / 2


def test_a_folder_in_one_style_and_kept_until_the_style_changes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, photos, out = folder / "tint.onnx", folder / "photos", folder / "out"
    assert main_code("apply", model, photos, out, "--style", folder / "red.png") == 0
    for name in ("a", "b"):
        image = read(photos / f"{name}.png").pixels
        expected = tinted(image, np.array([200.0, 10.0, 10.0]))
        assert np.abs(read(out / f"{name}.png").pixels - expected).max() <= 1
    capsys.readouterr()
    assert main_code("apply", model, photos, out, "--style", folder / "red.png") == 0
    assert "2 were there already" in capsys.readouterr().err
    assert main_code("apply", model, photos, out, "--style", folder / "blue.png") == 0
    assert "2 images written" in capsys.readouterr().err
    assert read(out / "a.png").pixels[..., 2].mean() > read(photos / "a.png").pixels[..., 2].mean() / 2 + 90


def test_styles_are_mixed_by_their_weights(folder: Path) -> None:
    model, image, out = folder / "tint.onnx", folder / "photos" / "a.png", folder / "mixed.png"
    styles = ("--style", folder / "red.png", folder / "blue.png", "--style-weights", "3", "1")
    assert main_code("apply", model, image, out, *styles) == 0
    expected = tinted(read(image).pixels, np.array([152.5, 10.0, 57.5]))
    assert np.abs(read(out).pixels - expected).max() <= 5


def test_a_style_picture_in_the_folder_of_images_is_no_input(folder: Path) -> None:
    write(folder / "photos" / "style.png", Picture(np.full((4, 4, 3), 90, np.uint8)))
    out = folder / "out"
    assert (
        main_code("apply", folder / "tint.onnx", folder / "photos", out, "--style", folder / "photos/style.png") == 0
    )
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "Tint stylizes: give a style picture with --style"),
        (("--style", "nowhere.png"), "nowhere.png"),
        (("--style", "red.png", "--style-strength", "0.5"), "Tint has no style strength: leave out --style-strength"),
        (("--style", "red.png", "--style-strength", "2"), "expected a number from 0 to 1"),
        (("--style", "red.png", "--style-weights", "1", "2"), "1 style picture and 2 weights: give one for each"),
        (("--style", "out.png"), "would replace a style picture"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    words: tuple[str, ...],
    sentence: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    (folder / "out.png").write_bytes((folder / "red.png").read_bytes())
    assert main_code("apply", "tint.onnx", "photos/a.png", "out.png", *words) == 2
    said = capsys.readouterr().err
    assert sentence in said and "Traceback" not in said
    assert np.array_equal(read(folder / "out.png").pixels, read(folder / "red.png").pixels)


def test_a_video_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence names no option that the model needs."""
    (folder / "clip.mp4").write_bytes(b"a video")
    words = ("--style", folder / "red.png", "--preserve-colour")
    assert main_code("apply", folder / "tint.onnx", folder / "clip.mp4", folder / "out.mp4", *words) == 2
    assert "Tint stylizes images only: give images" in (said := capsys.readouterr().err) and "leave" not in said


def test_a_style_picture_with_a_profile_is_converted_to_srgb(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A profile that cannot be used is ignored, which is said."""
    p3 = rgb_profile(SRGB_CURVE, Primaries((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)))
    colour = read(folder / "red.png").pixels[:1, :1]
    write(folder / "wide.png", Picture(read(folder / "red.png").pixels, icc_profile=p3))
    image, in_srgb = (
        read(folder / "photos" / "a.png").pixels,
        read(folder / "wide.png", keep_profiles=()).pixels[:1, :1],
    )
    assert np.abs(in_srgb.astype(int) - colour).max() > 10
    for expected, note in ((in_srgb, ""), (colour, "wide.png: its colour profile")):
        words = (folder / "photos" / "a.png", folder / "out.png", "--overwrite", "--style", folder / "wide.png")
        assert main_code("apply", folder / "tint.onnx", *words) == 0
        assert np.abs(read(folder / "out.png").pixels - tinted(image, expected.astype(float))).max() <= 1
        assert ("profile" in (said := capsys.readouterr().err)) == bool(note) and note in said
        monkeypatch.setattr(icc, "MAX_PROFILE_BYTES", 100)


def test_a_model_without_style_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_onnx(folder / "mean.onnx")
    words = ("apply", folder / "mean.onnx", folder / "red.png", folder / "out.png")
    for more in (("--style", folder / "blue.png"), ("--preserve-colour",)):
        assert main_code(*words, *more) == 2
        assert "does not stylize: leave out --style" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_colours_are_kept_and_the_luminance_is_the_new_one(channels: int, dtype: type[np.unsignedinteger]) -> None:
    rng = np.random.default_rng(0)
    most = np.iinfo(dtype).max
    image = rng.integers(most // 3, most // 2, (12, 15, channels)).astype(dtype)
    style = np.full((8, 8, 3), most // 2, dtype)
    model = Predictor(Tint())
    plain, kept = (
        model(image, style, 0.5, options=PredictOptions(stylize=StylizeOptions(keep))) for keep in (False, True)
    )
    assert kept.shape == plain.shape and kept.dtype == dtype
    colours = fit_channels(image, 3).astype(float)
    difference = kept[..., :3] - colours
    assert np.ptp(difference, axis=2).max() <= 1  # the same for red, green and blue
    luminances = [each[..., :3].astype(float) @ REC_601 for each in (kept, plain)]
    assert np.abs(luminances[0] - luminances[1]).max() <= 1
    if channels == 4:
        assert np.array_equal(kept[..., 3], image[..., 3])


def test_what_needs_too_much_memory_is_reduced_and_said() -> None:
    """The image comes back in its own size; it is never cut into tiles, which would each get a style of their own."""
    model = Tint(most_pixels=1000)
    image, style = photo(60, 90, seed=1), photo(20, 300, seed=2)
    prediction = Predictor(model).predict({"image": image, "style": style, "style_strength": np.zeros(1)})
    assert prediction.pixels.shape == image.shape and not prediction.in_tiles
    assert all(800 < height * width <= 1000 for height, width in model.shapes)
    assert np.abs(prediction.pixels.astype(int) - image).mean() < 12
    assert [note.split(" was ")[0] for note in prediction.notes] == [
        "the image of 90 × 60 px",
        "the style of 300 × 20 px",
    ]
    assert all("--max-memory" in note for note in prediction.notes)
    small = Predictor(Tint()).predict({"image": image, "style": style})
    assert small.notes == ()


def test_a_style_strength_is_a_number_from_0_to_1() -> None:
    model, image, style = Predictor(Tint()), photo(8, 9, seed=1), photo(9, 8, seed=2)
    full, none = model(image, style), model(image, style, style_strength=0)
    assert np.array_equal(none, image) and np.array_equal(full, model(image, style, 1.0))
    for value in (1.5, -0.1, np.array([0.2, 0.3]), float("nan")):
        with pytest.raises(UserError, match="style_strength"):
            model(image, style, value)
    assert model.read({"style_strength": b"0.25"}).inputs["style_strength"] == [np.float32(0.25)]
    for text in (b"2", b"much", b"[0.1, 0.2]"):
        with pytest.raises(UserError, match="expected a number from 0 to 1"):
            model.read({"style_strength": text})


def test_loaded_and_called(folder: Path) -> None:
    image, style = photo(14, 11, seed=3), np.full((5, 9, 3), 100, np.uint8)
    made = load(folder / "tint.onnx", device="cpu")(image, style)
    assert np.abs(made - tinted(image, np.full(3, 100.0))).max() <= 1

"""Models that run one after the other: what they give, what they say of themselves, and what cannot be a step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from handmade_onnx import write_colouriser, write_filler, write_gain, write_generator, write_onnx

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Pixels
from gan_tasks.export.chains.chain import Chain
from gan_tasks.export.inference.predictor import PredictOptions
from gan_tasks.export.inference.upscale import UpscaleOptions
from gan_tasks.export.load import load, load_chain, load_model
from gan_tasks.export.models.tiling import reporting_tiles

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (21, 30, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "filter": write_onnx(folder / "filter.onnx", model_name="Mean", licence="CC0"),
        "colour": write_colouriser(folder / "colour.onnx", licence="MIT"),
        "gain": write_gain(folder / "gain.onnx", (0.9, 0.5, 0.2)),
        "double": write_onnx(
            folder / "double.onnx", model_name="Double", task="super-resolution", scale=2, size_multiple=6
        ),
        "fill": write_filler(folder / "fill.onnx"),
        "generate": write_generator(folder / "generate.onnx"),
    }


def test_a_chain_gives_what_its_models_give_one_after_the_other(paths: dict[str, Path]) -> None:
    names = ("filter", "colour", "gain", "double")
    chain = load_chain([paths[name] for name in names])
    one_by_one = RGB
    for name in names:
        one_by_one = load(paths[name])(one_by_one)
    np.testing.assert_array_equal(chain(RGB), one_by_one)
    assert chain(RGB).shape == (42, 60, 3)
    as_floats = chain.model.run(RGB.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1)[0].transpose(1, 2, 0)
    np.testing.assert_allclose((as_floats + 1) * 127.5, one_by_one, atol=2)  # pixels are rounded after each step


def test_a_chain_of_one_model_is_that_model(paths: dict[str, Path]) -> None:
    assert not load_chain([paths["filter"]]).model.steps


def test_alpha_and_bit_depth_are_kept(paths: dict[str, Path]) -> None:
    chain = load_chain([paths["colour"], paths["double"]])
    rgba = RNG.integers(0, 65536, (21, 30, 4)).astype(np.uint16)
    rgba[..., 3] = 40_000
    result = chain(rgba)
    assert (result.dtype, result.shape) == (np.uint16, (42, 60, 4))
    assert (result[..., 3] == 40_000).all()
    gray = np.repeat(result[..., :1], 3, axis=2)
    np.testing.assert_array_equal(result[..., :3], gray)  # the second step has got the result of the first
    kept: list[Pixels] = []
    prediction = chain.predict({"image": rgba}, PredictOptions(on_step=kept.append))
    assert [step.shape for step in kept] == [(21, 30, 4)]
    np.testing.assert_array_equal(prediction.pixels, result)


def test_a_chain_that_enlarges_takes_a_scale(paths: dict[str, Path]) -> None:
    chain = load_chain([paths["filter"], paths["double"]])
    assert chain(RGB, options=PredictOptions(UpscaleOptions(1.5))).shape == (32, 45, 3)


def test_a_chain_says_what_its_models_are(paths: dict[str, Path]) -> None:
    model = load_chain([paths["filter"], paths["colour"], paths["double"]]).model
    spec = model.spec
    assert model.title == "Mean + Gray in colour + Double"
    assert model.version().split(" + ") == [
        load_model(paths[name]).version() for name in ("filter", "colour", "double")
    ]
    assert model.licence == "CC0 + MIT"
    assert (spec.use, spec.scale, spec.in_channels, spec.out_channels) == ("upscale", 2, 3, 3)
    # multiples of 4, 4 and 6 px; each step looks 3 px far
    assert (spec.size_multiple, spec.minimum_size, spec.receptive_field) == (12, 12, 9)
    later = Chain([load_model(paths["double"]), load_model(paths["filter"])]).spec
    assert (later.size_multiple, later.receptive_field) == (6, 3 + 2)  # the filter works on pixels of half the size


def test_each_step_runs_in_tiles_of_its_own_within_the_memory(paths: dict[str, Path]) -> None:
    image = RNG.integers(0, 256, (96, 96, 3), dtype=np.uint8)
    chain = load_chain([paths["double"], paths["filter"]])
    whole = chain(image)
    chain.model.max_memory_bytes = 100 * 100 * 100  # bytes a pixel: the first step fits, the second one does not
    double, filter_ = chain.model.steps
    assert not double.runs_in_tiles(96, 96)
    assert chain.model.runs_in_tiles(96, 96)
    count = filter_.tile_count(192, 192)
    assert chain.model.tile_count(96, 96) == 1 + count > 4
    reported: list[tuple[int, int]] = []
    with reporting_tiles(lambda done, total: reported.append((done, total))):
        tiled = chain(image)
    np.testing.assert_array_equal(tiled, whole)
    assert sorted(set(reported)) == [(done, count + 1) for done in range(count + 2)]
    assert reported == sorted(reported)


def test_a_step_gives_its_memory_back_where_all_steps_would_need_more(
    paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = load_chain([paths["filter"], paths["gain"]])
    released: list[str] = []
    for model in chain.model.steps:
        monkeypatch.setattr(model, "release_memory", lambda title=model.title: released.append(title))
    chain.model.max_memory_bytes = 150 * 100 * 100  # enough for one step of 100×100 pixels, and not for two
    chain(np.zeros((60, 60, 3), np.uint8))
    assert not released
    chain(np.zeros((100, 100, 3), np.uint8))
    assert released == ["Mean", "Gain"]


def test_what_cannot_be_a_step_is_refused_in_a_sentence(paths: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="Orange takes mask beside the image: it cannot be a step of a chain"):
        load_chain([paths["filter"], paths["fill"]])
    with pytest.raises(UserError, match="takes no image and makes its own: it cannot be a step"):
        load_chain([paths["generate"], paths["filter"]])
    five = write_onnx(paths["filter"].with_name("five.onnx"), in_channels=5, out_channels=5)
    with pytest.raises(UserError, match="takes images of 5 channels, and the step before gives 3"):
        load_chain([paths["filter"], five])

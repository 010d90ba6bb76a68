"""An image that is inpainted again and again, without a browser: what paint means, what is refused, and over HTTP."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio")
pytest.importorskip("onnxruntime")

from fastapi.testclient import TestClient
from handmade_onnx import write_filler, write_onnx
from page_config import page_config
from PIL import Image

from gan_tasks.apps.web.inpaint_steps import (
    MAX_PREVIEW_SIDE_PX,
    InpaintRequest,
    Step,
    inpaint_picture,
    open_picture,
    painted,
    preview_size,
)
from gan_tasks.apps.web.job_queue import BusyError, Limits, Service
from gan_tasks.apps.web.served_models import open_models
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, Pixels, read, write
from gan_tasks.export.inference.inpaint_options import InpaintOptions
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.inference.provenance import read_xmp
from gan_tasks.export.load import load

MAX_PIXELS = 10_000
RED, BLUE = (255, 0, 200), (10, 60, 255)
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
HARD = InpaintOptions(feather_px=0, match_colour=False)


def png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def layer(*strokes: tuple[slice, slice, tuple[int, int, int], int], size: tuple[int, int] = (40, 50)) -> bytes:
    """Rows, columns, colour and alpha of each."""
    pixels = np.zeros((*size, 4), np.uint8)
    for rows, columns, colour, alpha in strokes:
        pixels[rows, columns] = (*colour, alpha)
    return png(pixels)


@pytest.fixture
def model(tmp_path: Path) -> Predictor:
    return load(write_filler(tmp_path / "fill.onnx"))


@pytest.fixture
def step(tmp_path: Path) -> Step:
    (tmp_path / "photo.png").write_bytes(png(PIXELS))
    (tmp_path / "upload").mkdir()
    return open_picture(tmp_path / "photo.png", tmp_path / "upload", max_pixels=MAX_PIXELS)


def fill(model: Predictor, step: Step, tmp_path: Path, request: InpaintRequest, name: str = "photo-1.png") -> Step:
    folder = tmp_path / name.removesuffix(".png")
    folder.mkdir()
    return inpaint_picture(model, step, request, folder, name=name, max_pixels=MAX_PIXELS)


def test_paint_of_half_its_opacity_covers(model: Predictor, step: Step, tmp_path: Path) -> None:
    paint = layer((slice(5, 9), slice(5, 9), RED, 153), (slice(9, 10), slice(5, 9), RED, 75))
    more = layer((slice(20, 21), slice(20, 25), RED, 153))
    after = fill(model, step, tmp_path, InpaintRequest((paint, more), options=HARD))
    mask = np.zeros((40, 50), np.bool_)
    mask[5:9, 5:9] = mask[20, 20:25] = True
    result = read(after.file).pixels
    assert (result[mask] == (204, 102, 51)).all() and np.array_equal(result[~mask], PIXELS[~mask])
    assert after.mask is not None and np.array_equal(read(after.mask).pixels[..., 0] > 0, mask)
    assert [path.read_bytes() for path in after.paint] == [paint, more]
    mark = read_xmp(after.file)
    assert mark is not None and mark.source_type == "compositeWithTrainedAlgorithmicMedia"


def test_blue_paint_is_a_line_for_models_that_follow_them() -> None:
    paint = layer((slice(0, 10), slice(0, 10), RED, 153), (slice(4, 5), slice(0, 10), BLUE, 255))
    mask, lines = painted([paint], (40, 50), follows_sketch=True)
    assert mask.sum() == 100 and lines.sum() == 10 and lines[4, :10].all()
    assert not painted([paint], (40, 50), follows_sketch=False)[1].any()


def test_paint_on_a_preview_covers_the_same_place_of_a_large_picture() -> None:
    size = (3 * MAX_PREVIEW_SIDE_PX // 2, 3 * MAX_PREVIEW_SIDE_PX)
    small = preview_size(size)
    assert small == (MAX_PREVIEW_SIDE_PX // 2, MAX_PREVIEW_SIDE_PX)
    mask, _ = painted([layer((slice(100, 200), slice(0, 50), RED, 153), size=small)], size, follows_sketch=False)
    expected = np.zeros(size, np.bool_)
    expected[300:600, :150] = True
    assert np.array_equal(mask, expected)


def test_a_mask_file_adds_to_the_paint(model: Predictor, step: Step, tmp_path: Path) -> None:
    mask = np.zeros((40, 50), np.uint8)
    mask[30:32] = 255
    (tmp_path / "mask.png").write_bytes(png(mask))
    paint = layer((slice(5, 9), slice(5, 9), RED, 153))
    after = fill(model, step, tmp_path, InpaintRequest((paint,), mask=tmp_path / "mask.png"))
    assert after.mask is not None and (read(after.mask).pixels > 0).sum() == 16 + 100


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_is_kept_and_what_is_painted_on(channels: int, dtype: type, model: Predictor, tmp_path: Path) -> None:
    pixels: Pixels = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (40, 50, channels)).astype(dtype)
    write(tmp_path / "deep.tif", Picture(pixels))
    (tmp_path / "upload").mkdir()
    step = open_picture(tmp_path / "deep.tif", tmp_path / "upload", max_pixels=MAX_PIXELS)
    assert read(step.preview).pixels.dtype == np.uint8 and step.name == "deep.tif"
    after = fill(model, step, tmp_path, InpaintRequest((layer((slice(5, 9), slice(5, 9), RED, 153)),)))
    result = read(after.file).pixels
    assert result.dtype == dtype and result.shape == pixels.shape
    kept = np.ones((40, 50), np.bool_)
    kept[5:9, 5:9] = False
    assert np.array_equal(result[kept], pixels[kept]) and not np.array_equal(result, pixels)


def test_notes_are_passed_on(model: Predictor, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(png(np.zeros((90, 100, 3), np.uint8)))
    (tmp_path / "upload").mkdir()
    step = open_picture(tmp_path / "photo.png", tmp_path / "upload", max_pixels=MAX_PIXELS)
    paint = layer((slice(5, 9), slice(5, 9), RED, 153), size=(90, 100))
    request = InpaintRequest((paint,), options=InpaintOptions(strategy="original"))
    assert fill(model, step, tmp_path, request).notes == ()
    model.model.max_memory_bytes = 500_000
    first, *_ = fill(model, step, tmp_path, request, "again.png").notes
    assert "each masked region was filled with its surroundings instead" in first


def test_what_cannot_be_filled_is_said(model: Predictor, step: Step, tmp_path: Path) -> None:
    (tmp_path / "small.png").write_bytes(png(np.zeros((9, 9), np.uint8)))
    everything = layer((slice(0, 40), slice(0, 50), RED, 153))
    for number, (request, words) in enumerate(
        (
            (InpaintRequest(), "Nothing is covered"),
            (InpaintRequest((everything,)), "covers the whole image"),
            (InpaintRequest((layer(size=(80, 80)),)), "does not have the image's size"),
            (InpaintRequest(mask=tmp_path / "small.png"), "the mask: is 9 × 9 px but its image is 50 × 40 px"),
        )
    ):
        with pytest.raises(UserError, match=words):
            fill(model, step, tmp_path, request, f"{number}.png")
    step.file.unlink()
    with pytest.raises(UserError, match="choose it again"):
        fill(model, step, tmp_path, InpaintRequest((everything,)), "deleted.png")


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (Picture(np.zeros((101, 100, 3), np.uint8)), "over the limit of 10,000 px"),
        (Picture(np.zeros((9, 9, 3), np.float32)), "8 or 16 bits"),
        (Picture(np.zeros((9, 9, 5), np.uint8)), "8 or 16 bits"),
    ],
)
def test_uploads_that_cannot_be_filled(picture: Picture, words: str, tmp_path: Path) -> None:
    write(tmp_path / "in.tif", picture)
    with pytest.raises(UserError, match=words) as refused:
        open_picture(tmp_path / "in.tif", tmp_path, max_pixels=MAX_PIXELS)
    assert str(tmp_path) not in str(refused.value)


# Over HTTP.


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("models")
    paths = [write_filler(folder / "fill.onnx"), write_filler(folder / "sketch.onnx", sketch=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        service = Service(open_models([*paths, write_onnx(folder / "mean.onnx")]), Limits(max_pixels=MAX_PIXELS))
        yield service
        service.close()


def post(client: TestClient, model: str, **pixels: Any) -> Any:
    """The response."""
    files = {name: (f"{name}.png", png(each)) for name, each in pixels.items()}
    return client.post(f"/api/{model}/run", files=files)


MASK = np.zeros((40, 50), np.uint8)
MASK[10:20, 10:20] = 255


def test_an_image_and_a_mask_over_http(client: TestClient, service: Service, tmp_path: Path) -> None:
    lines = np.zeros((40, 50), np.uint8)
    lines[15] = 255
    for model, masks in (("fill", {"mask": MASK}), ("sketch", {"mask": MASK, "sketch": lines})):
        answer = post(client, model, image=PIXELS, **masks)
        assert answer.status_code == 200
        expected = service.models[model].predictor(PIXELS, *masks.values())
        assert np.array_equal(read(answer.content).pixels, expected)
        (tmp_path / "out.png").write_bytes(answer.content)
        mark = read_xmp(tmp_path / "out.png")
        assert mark is not None and mark.source_type == "compositeWithTrainedAlgorithmicMedia"
    empty = post(client, "fill", image=PIXELS, mask=np.zeros_like(MASK))
    assert np.array_equal(read(empty.content).pixels, PIXELS)


def test_what_is_wrong_over_http(client: TestClient, service: Service) -> None:
    for answer, words in (
        (post(client, "fill", image=PIXELS), "no mask came: send a multipart form with a file called `mask`"),
        (post(client, "fill", mask=MASK), "no image came: send a multipart form with a file called `image`"),
        (post(client, "fill", image=PIXELS, mask=MASK[:9]), "the mask: is 50 × 9 px"),
        (post(client, "fill", image=PIXELS, mask=np.full_like(MASK, 255)), "the mask: all pixels are masked"),
    ):
        assert answer.status_code == 422 and words in answer.json()["detail"]
    with pytest.MonkeyPatch.context() as patch:

        def full(job: object, **_: object) -> None:
            raise BusyError("5 pictures are waiting already")

        patch.setattr(service, "enqueue", full)
        assert post(client, "fill", image=PIXELS, mask=MASK).status_code == 503


def test_each_kind_of_model_has_its_page(client: TestClient) -> None:
    labels = [component["props"].get("label") for component in page_config(client)["components"]]
    assert labels.count("Paint") == 2 and labels.count("Before and after") == 1
    assert len([label for label in labels if re.match("Sketch", str(label))]) == 1

"""Walks through W and z."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tiny_synthesis import tiny_model

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.inference.latents import draw_latent
from gan_tasks.export.inference.synthesis.generate import generate
from gan_tasks.export.inference.synthesis.interpolate import interpolate, slerp, walk
from gan_tasks.export.inference.synthesis.latent_space import LatentSpace
from gan_tasks.export.inference.synthesis.points import Point


def test_a_walk_ends_at_its_last_point_or_where_it_began() -> None:
    assert walk(3, 2, loop=False) == [(0, 1, 0.0), (0, 1, 0.5), (1, 2, 0.0), (1, 2, 0.5), (2, 2, 0.0)]
    assert walk(2, 2, loop=True) == [(0, 1, 0.0), (0, 1, 0.5), (1, 0, 0.0), (1, 0, 0.5)]


@pytest.mark.parametrize("mapped", [True, False])
def test_a_walk_passes_through_the_images_of_its_seeds(mapped: bool) -> None:
    model = tiny_model(mapped=mapped)
    frames = [each.astype(int) for each in interpolate(model, [Point(1), Point(5), Point(9)], 10)]
    assert len(frames) == 21
    for frame, image in zip(frames[::10], generate(model, [1, 5, 9]), strict=True):
        assert np.abs(frame - image.pixels).max() <= 1
    steps = [np.abs(b - a).mean() for a, b in pairwise(frames)]
    assert max(steps) < np.abs(frames[10] - frames[0]).mean()


def test_a_walk_through_w_is_straight_in_styles() -> None:
    model = tiny_model()
    space = LatentSpace(model)
    styles = space.styles_of_seeds([1, 5])
    middle = list(interpolate(model, [Point(1), Point(5)], 2))[1].astype(int)
    assert np.abs(space.images(styles.mean(0, keepdims=True))[0] - middle).max() <= 1
    through_z = list(interpolate(model, [Point(1), Point(5)], 2, space="z"))[1].astype(int)
    assert np.abs(through_z - middle).max() > 1


def test_latents_stay_on_their_sphere() -> None:
    first, second = draw_latent(1, 512), draw_latent(2, 512)
    middle = slerp(first, second, 0.5)
    lengths = [np.linalg.norm(each) for each in (first, second, middle)]
    assert lengths[2] == pytest.approx((lengths[0] + lengths[1]) / 2, rel=1e-4)
    np.testing.assert_allclose(slerp(first, second, 0.0), first, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(slerp(first, second, 1.0), second, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(slerp(first, first, 0.3), first, rtol=1e-4, atol=1e-5)
    assert np.isfinite(slerp(first, -first, 0.5)).all() and np.isfinite(slerp(0 * first, first, 0.5)).all()


def test_what_is_no_walk_is_refused() -> None:
    model = tiny_model(classes=2)
    with pytest.raises(UserError, match="two seeds or more"):
        interpolate(model, [Point(1, label=0)])
    with pytest.raises(UserError, match="one class and one truncation"):
        interpolate(model, [Point(1, label=0), Point(1, label=1)], space="z")
    assert len(list(interpolate(model, [Point(1, label=0), Point(1, label=1)], 2))) == 3
    with pytest.raises(UserError, match="styles of a file lie in W"):
        interpolate(model, [Point(1), Point(styles=np.ones((3, 5), np.float32))], space="z")


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_frames_become_a_marked_video(suffix: str, tmp_path: Path) -> None:
    import av

    from gan_tasks.export.inference.provenance import read_xmp, xmp
    from gan_tasks.export.inference.video.frames import write_frames

    colours = np.uint8([[200, 40, 40], [40, 160, 60], [30, 60, 200]])
    images = [np.broadcast_to(colour, (33, 48, 3)) for colour in colours]
    path = tmp_path / f"walk{suffix}"
    assert write_frames(path, images, (33, 48), rate=12, xmp=xmp("m", "1", generated_from="{}")) == 3
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (48, 34, 12)
        decoded = [frame.to_ndarray(format="rgb24") for frame in file.decode(stream)]
    assert len(decoded) == 3
    for frame, colour in zip(decoded, colours, strict=True):
        assert np.abs(frame[16, 24].astype(int) - colour).max() <= 12
    if suffix == ".mp4":
        mark = read_xmp(path)
        assert mark is not None and mark.generated_from == "{}"

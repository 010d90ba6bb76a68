"""The data set of images without targets: folders, classes, sizes and latents."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gan_tasks.datasets.errors import MissingSplitError, UserError
from gan_tasks.datasets.images import Picture, write
from gan_tasks.datasets.unlabelled import SizeConfig, Unlabelled, UnlabelledConfig, UnlabelledImages, open_unlabelled

CONFIG = UnlabelledConfig(framing=SizeConfig(load_size=8, crop_size=(8, 8), keep_aspect=True))


def put_images(folder: Path, count: int, *, size: tuple[int, int] = (12, 16), first: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.full((*size, 3), first + number, np.uint8)
        pixels[:, size[1] // 2 :] += 100
        write(folder / f"{number}.png", Picture(pixels))
    return folder


def opened(root: Path, config: UnlabelledConfig = CONFIG, *, augment: bool = False) -> UnlabelledImages:
    return open_unlabelled(root, "train", config, 0, augment, latent=5)[0]


def test_a_folder_itself_or_its_splits_hold_the_images(tmp_path: Path) -> None:
    put_images(tmp_path, 3)
    (tmp_path / ".hidden.png").write_bytes(b"x")
    data, found = open_unlabelled(tmp_path, "train", CONFIG, 0, True, latent=5)
    assert len(data) == 3 and found.summary == f"3 images in {tmp_path}" and not found.problems
    with pytest.raises(MissingSplitError, match="holds no test images; expected images in"):
        open_unlabelled(tmp_path, "test", CONFIG, 0, True, latent=5)
    put_images(tmp_path / "train", 2)
    put_images(tmp_path / "test", 1)
    assert len(opened(tmp_path)) == 2
    assert len(open_unlabelled(tmp_path, "test", CONFIG, 0, False, latent=5)[0]) == 1


def test_a_sample_depends_on_its_key_alone(tmp_path: Path) -> None:
    data = opened(put_images(tmp_path, 3), augment=True)
    first, again, later, other = (data[key] for key in ((0, 1), (0, 1), (1, 1), (0, 2)))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert first.image.shape == (3, 8, 8) and first.latent.shape == (5,) and first.label.shape == (0,)
    assert not np.array_equal(first.latent, later.latent) and not np.array_equal(first.latent, other.latent)
    whole = opened(tmp_path)
    assert np.array_equal(whole[(0, 1)].latent, whole[(1, 1)].latent)
    latents = np.concatenate([data[(epoch, 0)].latent for epoch in range(400)])
    assert abs(latents.mean()) < 0.1 and abs(latents.std() - 1) < 0.1


def test_samples_are_loaded_as_bytes_and_equal_the_floats(tmp_path: Path) -> None:
    data = opened(put_images(tmp_path, 1), augment=True)
    loaded: Unlabelled[np.ndarray] = data.load((0, 0))
    assert loaded.image.dtype == np.uint8
    np.testing.assert_allclose(loaded.image / 127.5 - 1, data[(0, 0)].image, atol=1e-6)


@pytest.mark.parametrize("keep_aspect", [True, False])
@pytest.mark.parametrize("load_size", [0, 8, 40])
@pytest.mark.parametrize("crop_size", [(8, 8), (32, 16), (16, 32)])
def test_images_cover_the_crop_whatever_their_size(
    tmp_path: Path, crop_size: tuple[int, int], load_size: int, keep_aspect: bool
) -> None:
    put_images(tmp_path, 1)
    framing = SizeConfig(load_size=load_size, crop_size=crop_size, keep_aspect=keep_aspect, flip=False)
    for augment in (True, False):
        image = opened(tmp_path, replace(CONFIG, framing=framing), augment=augment)[(0, 0)].image
        assert image.shape == (3, *crop_size)
        # Padding by reflection would give columns that fall again.
        assert (np.diff(image.mean(axis=(0, 1))) > -0.1).all()


def test_whole_images_are_cropped_at_the_centre(tmp_path: Path) -> None:
    tmp_path.mkdir(exist_ok=True)
    pixels = np.zeros((8, 24, 3), np.uint8)
    pixels[:, 8:16] = 255
    write(tmp_path / "x.png", Picture(pixels))
    assert opened(tmp_path)[(0, 0)].image.mean() > 0.9


def test_sub_folders_are_classes(tmp_path: Path) -> None:
    put_images(tmp_path / "train" / "dogs", 2, first=50)
    put_images(tmp_path / "train" / "cats", 1)
    put_images(tmp_path / "test" / "dogs", 1)
    config = replace(CONFIG, classes=True)
    data, found = open_unlabelled(tmp_path, "train", config, 0, False, latent=5)
    assert data.config.class_names == ("cats", "dogs") and "3 images of 2 classes" in found.summary
    assert [data[(0, index)].label.tolist() for index in range(3)] == [[1, 0], [0, 1], [0, 1]]
    assert [data.name(index) for index in range(3)] == ["cats-0", "dogs-0", "dogs-1"]
    # The classes of a run are those of its training, in any other folder.
    test, _ = open_unlabelled(tmp_path, "test", data.config, 0, False, latent=5)
    assert test[(0, 0)].label.tolist() == [0, 1]
    put_images(tmp_path / "test" / "birds", 1)
    _, found = open_unlabelled(tmp_path, "test", data.config, 0, False, latent=5)
    assert "birds: is none of the classes cats and dogs" in str(found.problems[0])


def test_classes_are_offered_where_only_sub_folders_hold_images(tmp_path: Path) -> None:
    put_images(tmp_path / "cats", 1)
    with pytest.raises(MissingSplitError, match=r"its sub-folders do \(cats\): give --classes"):
        opened(tmp_path)
    with pytest.raises(UserError, match="has one sub-folder with images, cats"):
        opened(tmp_path, replace(CONFIG, classes=True))
    with pytest.raises(UserError, match="sub-folders of images, one for each class"):
        opened(put_images(tmp_path / "flat", 1), replace(CONFIG, classes=True))


def test_gray_images_and_bad_files(tmp_path: Path) -> None:
    put_images(tmp_path, 1)
    write(tmp_path / "gray.png", Picture(np.zeros((9, 9, 1), np.uint8)))
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    (tmp_path / "notes.txt").write_text("x")
    data, found = open_unlabelled(tmp_path, "train", replace(CONFIG, channels=1), 0, False, latent=5)
    assert [sample.image.shape for sample in (data[(0, 0)], data[(0, 1)])] == [(1, 8, 8)] * 2
    assert len(found.problems) == 2 and "2 files with problems left out" in found.summary
    with pytest.raises(UserError, match="without --strict"):
        opened(tmp_path, replace(CONFIG, strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"framing": SizeConfig(crop_size=(0, 0))}, "the size of the generated images"),
        ({"class_names": ("a", "b")}, "give --classes"),
        ({"classes": True, "class_names": ("a", "a")}, "two or more different names"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(CONFIG, **options)  # type: ignore[arg-type]

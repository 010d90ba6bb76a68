"""Images of seeds: the same from each kind of model, and what a model does not take is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from handmade_onnx import generated, write_generator, write_onnx
from tiny_synthesis import tiny_model

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, write
from gan_tasks.export.inference.latents import draw_latent
from gan_tasks.export.inference.synthesis.generate import generate, generate_points
from gan_tasks.export.inference.synthesis.generated_files import MarkedFiles, generate_to_files, seeds_text
from gan_tasks.export.inference.synthesis.inputs import class_number
from gan_tasks.export.inference.synthesis.latent_space import LatentSpace
from gan_tasks.export.inference.synthesis.points import Point, to_text
from gan_tasks.export.load import load_model
from gan_tasks.export.models.base import from_float


def test_an_onnx_file_gives_the_images_of_its_seeds(tmp_path: Path) -> None:
    model = load_model(write_generator(tmp_path / "noise.onnx", classes=3))
    seeds = (5, 0, 2**40)
    made = list(generate(model, seeds, label=2))
    assert [each.seed for each in made] == [*seeds]
    latents = np.stack([draw_latent(seed, 12) for seed in seeds])
    expected = generated(model.spec, latents, np.float32([[0, 0, 1]] * 3)) * 255
    for image, levels in zip(made, expected.transpose(0, 2, 3, 1), strict=True):
        assert image.pixels.dtype == np.uint8 and np.abs(image.pixels - levels).max() <= 1


def test_a_batch_gives_the_images_of_single_runs() -> None:
    model = tiny_model()
    singles = [
        from_float(model.run(draw_latent(seed, 6)[None], np.float32([[0.5]]))[0], np.dtype(np.uint8))
        for seed in range(20)
    ]
    model.max_memory_bytes = 3 * 16 * 16 * model.bytes_per_pixel
    ran = list[int]()
    handle = model.network.register_forward_hook(lambda module, inputs, output: ran.append(len(output)))
    together = [each.pixels for each in generate(model, range(20), truncation=0.5)]
    handle.remove()
    assert ran == [3] * 6 + [2]
    assert np.abs(np.stack(singles).astype(int) - np.stack(together)).max() <= 1


def test_points_of_all_kinds_give_the_image_of_their_seed() -> None:
    model = tiny_model(classes=3)
    styles = LatentSpace(model).styles_of_seeds([4], label=1, truncation=0.7)[0]
    points = [
        Point(4, label=1, truncation=0.7),
        Point(latent=draw_latent(4, 6), label=1, truncation=0.7),
        Point(styles=styles),
        Point(4, label=2, truncation=0.7),
    ]
    first, second, third, other = (each.pixels.astype(int) for each in generate_points(model, points))
    assert np.abs(first - second).max() <= 1 and np.abs(first - third).max() <= 1
    assert np.abs(first - other).max() > 1


@pytest.mark.parametrize(
    ("classes", "mapped", "label", "truncation", "message"),
    [
        (0, False, None, 0.7, "truncation is 0.7, but tiny has no mean of styles"),
        (0, True, None, 1.5, "truncation is 1.5: expected a number from 0 to 1"),
        (0, True, 1, 1.0, "tiny has no classes"),
        (3, True, None, 1.0, "needs a class: give a number from 0 to 2"),
        (3, True, 3, 1.0, "class 3 does not exist in tiny: give a number from 0 to 2"),
        (3, True, -1, 1.0, "class -1 does not exist"),
    ],
)
def test_what_a_model_does_not_take_is_refused(
    classes: int, mapped: bool, label: int | None, truncation: float, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        next(generate(tiny_model(classes=classes, mapped=mapped), [0], label, truncation))


def test_a_model_that_does_not_generate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not generate images from seeds"):
        next(generate(load_model(write_onnx(tmp_path / "model.onnx")), [0]))


def test_a_latent_of_another_model_is_refused() -> None:
    with pytest.raises(UserError, match="a latent of 7 numbers, where the model takes 6"):
        list(generate_points(tiny_model(), [Point(latent=np.ones(7, np.float32))]))
    with pytest.raises(UserError, match="styles of 2 layers × 5 numbers, where tiny takes 3 × 5"):
        list(generate_points(tiny_model(), [Point(styles=np.ones((2, 5), np.float32))]))


def test_a_class_is_found_by_name_or_number() -> None:
    model = tiny_model(classes=3, names=("cat", "dog", "owl"))
    assert [class_number(model, text) for text in ("dog", "2", "")] == [1, 2, None]
    with pytest.raises(UserError, match=r"no class 'doge': did you mean dog\?"):
        class_number(model, "doge")
    with pytest.raises(UserError, match="no class '3': give one of cat, dog, owl, or a number from 0 to 2"):
        class_number(model, "3")
    with pytest.raises(UserError, match="has no classes"):
        class_number(tiny_model(), "dog")


def test_a_kept_image_has_the_shape_of_the_models_images(tmp_path: Path) -> None:
    model, points = tiny_model(), {"a": Point(1), "b": Point(2)}
    generate_to_files(model, points, tmp_path, grid=True, quiet=True)
    before = {name: (tmp_path / f"{name}.png").read_bytes() for name in (*points, "grid")}
    mark = MarkedFiles(model).mark(to_text(points["a"]))
    write(tmp_path / "a.png", Picture(np.zeros((8, 16, 3), np.uint8)), xmp=mark)
    again = generate_to_files(model, points, tmp_path, grid=True, quiet=True)
    assert (again.written, again.kept) == (1, 1)
    assert before == {name: (tmp_path / f"{name}.png").read_bytes() for name in before}
    assert generate_to_files(model, points, tmp_path, quiet=True).kept == 2
    with pytest.raises(UserError, match="would be both an image and the grid"):
        generate_to_files(model, {"grid": Point(1)}, tmp_path / "new", grid=True, quiet=True)


def test_the_mark_of_several_images_holds_for_all() -> None:
    assert seeds_text([Point(1, label=2), Point(5, label=2)]) == '{"seeds": [1, 5], "class": 2}'
    assert seeds_text([Point(1, label=2), Point(5, label=1)]) == ""
    assert seeds_text([Point(1), Point(5, truncation=0.5)]) == ""


def test_an_onnx_file_is_used_without_torch(tmp_path: Path) -> None:
    onnx = write_generator(tmp_path / "noise.onnx")
    code = f"""
import sys
import subprocess
import sys
from pathlib import Path
from gan_tasks.apps.cli.main import main
for words in (["generate", {str(onnx)!r}, "out", "--seeds", "0-2", "--grid"],
              ["interpolate", {str(onnx)!r}, "walk.png", "--seeds", "0,1", "--frames", "2"]):
    try:
        main(words)
    except SystemExit as exited:
        assert exited.code == 0
assert Path("out/grid.png").is_file() and Path("walk.png").is_file()
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"

"""From a run to its use, over every task: exported, verified and run without torch, evaluated, served.

None of it has code for a task: it all follows from the spec. The examples in `examples/` run through it too.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from document_blocks import blocks
from tiny import ALL_TASKS, QUICK, tiny_task, write_run

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytest.importorskip("gradio")

from fastapi.testclient import TestClient
from PIL import Image

import gan_tasks
from gan_tasks.apps.cli.commands.export import export_verified, load_torch
from gan_tasks.apps.cli.main import main
from gan_tasks.apps.web.job_queue import Limits, Service
from gan_tasks.apps.web.served_models import open_models
from gan_tasks.apps.web.server import build_app
from gan_tasks.datasets.images import Picture, read, write
from gan_tasks.export.evaluation.evaluate import evaluate
from gan_tasks.export.evaluation.options import EvaluationOptions
from gan_tasks.export.inference.provenance import read_xmp
from gan_tasks.export.load import load_model
from gan_tasks.export.onnx.verify import TOLERANCE
from gan_tasks.spec import InputSpec, ModelSpec, spec_to_json

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Exported:
    """A run with random weights, its ONNX file, and the largest difference between the two."""

    run: Path
    file: Path
    max_error: float


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Exported]]:
    folder = tmp_path_factory.mktemp("whole-way")
    found = {}
    for name in ALL_TASKS:
        run = write_run(folder / name / "run", tiny_task(name, *QUICK.get(name, ())))
        file = folder / f"{name}.onnx"
        found[name] = Exported(run, file, export_verified(run, file).max_error)
    yield found


def inputs_for(spec: ModelSpec) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)

    def make(given: InputSpec) -> np.ndarray[Any, Any]:
        if given.kind == "latent":
            return rng.standard_normal(given.channels, np.float32)
        if given.kind == "weight":
            return np.full(given.channels, 0.75, np.float32)
        if given.kind == "mask":
            mask = np.zeros((40, 36), np.bool_)
            mask[10:20, 5:25] = True
            return mask
        size = (40, 36) if given.size == "as first" or given is spec.image else (52, 61)
        return rng.integers(0, 256, (*size, given.channels), np.uint8)

    return {given.name: make(given) for given in spec.inputs}


@pytest.mark.parametrize("name", ALL_TASKS)
def test_the_exported_file_does_what_the_run_does(name: str, exported: dict[str, Exported]) -> None:
    run, file = (gan_tasks.load(path, device="cpu") for path in (exported[name].run, exported[name].file))
    assert exported[name].max_error <= TOLERANCE
    assert spec_to_json(file.spec) == spec_to_json(run.spec) | {"directions": ()}
    inputs = inputs_for(run.spec)
    ours, theirs = run(**inputs), file(**inputs)
    assert ours.shape == theirs.shape == (*run.spec.output_shape(40, 36)[1:], run.spec.out_channels)
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    if run.spec.use == "generate":
        for one, other in zip(*(gan_tasks.generate(model, (5, 0, 2**40)) for model in (run, file)), strict=True):
            assert one.seed == other.seed and np.abs(one.pixels.astype(int) - other.pixels).max() <= 1


@pytest.mark.parametrize("name", ALL_TASKS)
def test_the_file_states_its_contract(
    name: str, exported: dict[str, Exported], capsys: pytest.CaptureFixture[str]
) -> None:
    """In the places that viewers show, with names for the free axes; `inspect` prints the same."""
    proto = onnx.load(exported[name].file)
    spec = gan_tasks.load(exported[name].file, device="cpu").spec
    *inputs, output = (*proto.graph.input, *proto.graph.output)
    assert [value.name for value in inputs] == [given.name for given in spec.inputs] and output.name == "output"
    for value, given in zip(inputs, spec.inputs, strict=True):
        own = "style_" if given.name == "style" else ""
        sides = [f"{own}height", f"{own}width"] if given.is_spatial else []
        assert axes_of(value) == ["batch", given.channels, *sides]
        words = {
            "image": f"[0, 1], {'gray' if given.channels == 1 else 'RGB'}",
            "mask": "1 = masked",
            "latent": "standard normal",
            "weight": "to 1, the full effect",
        }[given.kind]
        assert words in value.doc_string and "float32" in value.doc_string
        if given.size == "any":
            assert f"multiples of {spec.size_multiple} and at least {spec.minimum_size}" in value.doc_string
    times = f"{spec.scale}*" if spec.scale > 1 else ""
    assert axes_of(output) == ["batch", 3, *(spec.output_size or (f"{times}height", f"{times}width"))]
    assert "values in [0, 1] up to rounding" in output.doc_string
    assert exported[name].file.stem in proto.doc_string and name in proto.doc_string
    assert ("keep the given pixels" in proto.doc_string) == (spec.use == "inpaint")
    for value in (*inputs, output):
        assert value.doc_string in proto.doc_string
    with pytest.raises(SystemExit):
        main(["inspect", str(exported[name].file)])
    printed = capsys.readouterr().out
    assert [line for line in proto.doc_string.splitlines()[1:] if line not in printed] == []
    use = "generate" if spec.use == "generate" else "apply"
    assert re.findall(r": gan-tasks (\w+)", printed) == [use, "serve", "verify"]


def axes_of(value: onnx.ValueInfoProto) -> list[str | int]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("name", ALL_TASKS)
def test_the_documents_run_every_file_with_onnx_runtime_alone(
    name: str, exported: dict[str, Exported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[1] / "docs" / "reference" / "onnx.md"
    codes = [block.code for block in blocks(page) if block.language == "python"]
    model = gan_tasks.load(exported[name].file, device="cpu")
    for image, of_any_input in ((True, False), (False, True)):
        code = codes[of_any_input]
        assert "gan_tasks" not in code and "quickstart/model.onnx" in code
        if image and [(given.name, given.channels) for given in model.spec.inputs] != [("image", 3)]:
            continue
        inputs = inputs_for(model.spec)
        photo = inputs.get("image", np.zeros((40, 36, 3), np.uint8))
        mask = inputs.get("mask", np.zeros((40, 36), np.bool_))
        write(tmp_path / "photo.png", Picture(photo))
        write(tmp_path / "mask.png", Picture(mask[..., None] * np.uint8(255)))
        exec(compile(code.replace("quickstart/model.onnx", str(exported[name].file)), str(page), "exec"), {})
        result = read(tmp_path / "result.png").pixels
        assert result.shape == (*model.spec.output_shape(40, 36)[1:], 3)
        if model.spec.use in ("translate", "upscale"):
            assert np.abs(result.astype(int) - model(photo)).max() <= 1
        if model.spec.use == "inpaint":
            assert np.array_equal(result[~mask], photo[~mask])


@pytest.mark.parametrize("name", ["crisp", "super-resolution", "noise-to-image"])
def test_models_say_what_they_are(name: str, exported: dict[str, Exported]) -> None:
    for path, runs_on in ((exported[name].run, "PyTorch, cpu"), (exported[name].file, "ONNX Runtime")):
        model = gan_tasks.load(path, device="cpu")
        said = repr(model)
        assert said == repr(model.model) and len(said) < 500
        count = sum(weights.numel() for weights in load_torch(exported[name].run, "").network.parameters())
        for part in (model.title, model.spec.use, "3 channels", f"{count:,} parameters", str(path), runs_on):
            assert part in said
        assert ("scale 2" in said) == (name == "super-resolution")


def test_all_are_verified_and_run_without_torch(exported: dict[str, Exported], tmp_path: Path) -> None:
    for name, each in exported.items():
        np.savez(tmp_path / name, **inputs_for(load_model(each.file, device="cpu").spec))
    code = f"""
import json, sys
from pathlib import Path
import numpy as np
from gan_tasks.export.load import load
from gan_tasks.export.onnx.verify import verify
shapes = {{}}
for file in sorted(Path({str(exported["pix2pix"].file.parent)!r}).glob("*.onnx")):
    model = load(file, device="cpu")
    shapes[file.stem] = model(**np.load(Path({str(tmp_path)!r}) / (file.stem + ".npz"))).shape
    assert verify(file).ok, file
print(json.dumps([shapes, "torch" in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shapes, has_torch = json.loads(done.stdout)
    assert shapes.keys() == exported.keys() and not has_torch


@pytest.mark.parametrize("name", ALL_TASKS)
def test_run_and_file_are_evaluated_alike(name: str, exported: dict[str, Exported], pairs: Path) -> None:
    """By sets too, where there are enough images."""
    options = EvaluationOptions(split="train", limit=4, features="none")
    results = [
        evaluate(load_model(path, device="cpu"), pairs, options=options, quiet=True)
        for path in (exported[name].run, exported[name].file)
    ]
    assert results[0].images == 4
    by_run, by_file = (result.models[0].per_image for result in results)
    assert by_run.keys() == by_file.keys()
    for metric, values in by_run.items():
        assert by_file[metric] == pytest.approx(values, rel=2e-2, abs=2e-2, nan_ok=True), metric


def test_rest_and_page_serve_them_all(exported: dict[str, Exported], tmp_path: Path) -> None:
    service = Service(open_models([each.file for each in exported.values()]), Limits())
    try:
        with TestClient(build_app(service), base_url="http://localhost") as client:
            assert client.get("/").status_code == 200
            listed = {each["key"]: each for each in client.get("/api/models").json()}
            assert listed.keys() == exported.keys()
            for name, served in service.models.items():
                spec = served.spec
                assert listed[name]["spec"] == json.loads(json.dumps(spec_to_json(spec)))
                answer = client.post(f"/api/{name}/run", **form_of(spec, tmp_path))
                assert answer.status_code == 200, answer.text
                made = Image.open(BytesIO(answer.content))
                assert made.size == spec.output_shape(40, 36)[:0:-1]
                (tmp_path / "made.png").write_bytes(answer.content)
                mark = read_xmp(tmp_path / "made.png")
                assert mark is not None and mark.model == served.title
                wrong = client.post(f"/api/{name}/run", data={"nothing": "1"})
                assert wrong.status_code == 422 and "unknown field" in wrong.json()["detail"]
    finally:
        service.close()


def form_of(spec: ModelSpec, folder: Path) -> dict[str, Any]:
    """A multipart form with each input: files for images and masks, text for a latent."""
    files: dict[str, Any] = {}
    for name, values in inputs_for(spec).items():
        if values.ndim == 1:
            files[name] = (None, json.dumps(values.tolist()))
            continue
        pixels = values[..., None].astype(np.uint8) * 255 if values.dtype == np.bool_ else values
        write(folder / f"{name}.png", Picture(pixels))
        files[name] = (f"{name}.png", (folder / f"{name}.png").read_bytes(), "image/png")
    return {"files": files}


def test_a_seed_gives_its_latent(exported: dict[str, Exported], tmp_path: Path) -> None:
    """By REST and in Python the same image, and another for another seed."""
    model = gan_tasks.load(exported["noise-to-image"].file, device="cpu")
    one, again, other = (model.predict(model.read({"latent": seed}).inputs).pixels for seed in (b"7", b"7", b"8"))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    model.write(tmp_path / "seven.png", model.predict(model.read({"latent": b"7"}).inputs))
    assert np.array_equal(read(tmp_path / "seven.png").pixels, one)


@pytest.mark.parametrize("name", ["restyle", "stylization"])
def test_a_style_of_any_size_has_an_effect(name: str, exported: dict[str, Exported]) -> None:
    model = gan_tasks.load(exported[name].file, device="cpu")
    inputs = inputs_for(model.spec)
    dark = {**inputs, "style": inputs["style"][:30, :50] // 4}
    assert not np.array_equal(model(**inputs), model(**dark))

"""Files that an earlier version exported: single values in the metadata in place of a spec."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from handmade_onnx import write_filler, write_onnx
from onnx import helper

from gan_tasks.export.load import load
from gan_tasks.export.onnx.file import OnnxFileError
from gan_tasks.export.onnx.verify import verify


def make_earlier(path: Path, **changes: str) -> Path:
    """Rewrite a file as an earlier version wrote it; the path of the copy."""
    spec = load(path).spec
    proto = onnx.load(path)
    entries = {
        f"case_{entry.key[-1]}" if entry.key.startswith("test_vector_") else entry.key: entry.value
        for entry in proto.metadata_props
        if entry.key != "spec"
    }
    values: dict[str, Any] = {name: getattr(spec, name) for name in ("task", "in_channels", "out_channels", "scale")}
    values |= {name: getattr(spec, name) for name in ("size_multiple", "minimum_size", "direction")}
    entries |= {name: str(value) for name, value in (values | {"overlap": 8} | changes).items()}
    del proto.metadata_props[:]
    helper.set_model_props(proto, {name: value for name, value in entries.items() if value != "absent"})
    earlier = path.with_name(f"earlier-{path.name}")
    earlier.write_bytes(proto.SerializeToString())
    return earlier


@pytest.mark.parametrize("task", ["cyclegan", "super-resolution", "inpainting"])
def test_a_file_of_an_earlier_version_is_verified_and_run(task: str, tmp_path: Path) -> None:
    options = {"cyclegan": {"direction": "b-to-a"}, "super-resolution": {"scale": 2}}.get(task, {})
    if task == "inpainting":
        path = write_filler(tmp_path / "model.onnx", sketch=True)
    else:
        path = write_onnx(tmp_path / "model.onnx", task=task, **options)
    ours, theirs = load(path), load(make_earlier(path))
    assert theirs.spec == replace(ours.spec, receptive_field=3)
    image = np.random.default_rng(0).integers(0, 256, (40, 52, 3), np.uint8)
    masks = [image[..., 0] > 128] if task == "inpainting" else []
    np.testing.assert_array_equal(theirs(image, *masks), ours(image, *masks))
    if task != "inpainting":  # the filler has no test vectors
        assert verify(make_earlier(path)).ok


@pytest.mark.parametrize("changes", [{"overlap": "absent"}, {"scale": "many"}, {"minimum_size": "0"}])
def test_incomplete_or_invalid_values_give_no_spec(changes: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(OnnxFileError, match="lacks spec in its metadata"):
        load(make_earlier(write_onnx(tmp_path / "model.onnx"), **changes))

"""Results are marked as made by a model, in every format that supports it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from handmade_onnx import write_onnx
from hypothesis import given
from hypothesis import strategies as st

import gan_tasks
from gan_tasks.apps.cli.commands.inspect import inspect
from gan_tasks.datasets.images import Picture, read, write
from gan_tasks.export.inference.apply import apply_to_files
from gan_tasks.export.inference.provenance import Mark, read_xmp, xmp
from gan_tasks.export.load import load

MARK = Mark("trainedAlgorithmicMedia", "Mean <3×3> & more", f"gan-tasks {gan_tasks.__version__}")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_results_are_marked(suffix: str, dtype: type, tmp_path: Path) -> None:
    source, out = tmp_path / "in.png", tmp_path / f"out{suffix}"
    write(source, Picture(np.full((12, 9, 3), 7, dtype)))
    model = load(write_onnx(tmp_path / "model.onnx"))
    assert apply_to_files(model, [(source, out)]).written == 1
    source_sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    assert read_xmp(out) == replace(MARK, model_version=model.model.version(), source=f"sha256:{source_sha256}")
    assert read(out).pixels.shape == (12, 9, 3), "the marked file is not a valid image"
    assert any("Mean <3×3> & more" in line for line in inspect(out))
    assert read_xmp(source) is None
    assert not any("marked" in line for line in inspect(source))


@given(st.text())
def test_any_name_is_kept_except_for_characters_not_allowed_in_xml(name: str) -> None:
    tree = ElementTree.fromstring(xmp(name, "1.0").decode().removeprefix("\ufeff"))
    (description,) = tree.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    written = description.get("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}AISystemUsed", "")
    assert written == "".join(filter(str.isprintable, name))


def test_inpainted_images_are_marked_as_composites(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    write(path, Picture(np.zeros((4, 4, 3), np.uint8)), xmp=xmp("filler", "1.0", composite=True))
    assert read_xmp(path) == Mark("compositeWithTrainedAlgorithmicMedia", "filler", "gan-tasks 1.0")


def test_marks_of_other_programs_as_xml_elements_are_read(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    packet = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
    <rdf:Description rdf:about="" xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"><e:DigitalSourceType>
    http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia</e:DigitalSourceType></rdf:Description>
    </rdf:RDF></x:xmpmeta>"""
    write(path, Picture(np.zeros((4, 4, 3), np.uint8)), xmp=packet.encode())
    assert read_xmp(path) == Mark("trainedAlgorithmicMedia", "", "")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no image",
        b"<x:xmpmeta",
        b"</x:xmpmeta> <x:xmpmeta",
        b"<x:xmpmeta>&a;</x:xmpmeta>",
        b"<x:xmpmeta><!DOCTYPE a [<!ENTITY a 'aaaa'>]></x:xmpmeta>",
        b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>",
    ],
)
def test_other_content_has_no_mark(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(content)
    assert read_xmp(path) is None

"""The decoding process gives the same pixels, is killed over files that cost too much, and ends with its parent."""

from __future__ import annotations

import io
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from handmade_onnx import write_onnx
from PIL import Image, ImageCms

from gan_tasks.apps.web.decoding.decoder import Decoder
from gan_tasks.apps.web.job_queue import JobRequest, Limits, Service
from gan_tasks.apps.web.run_form import write_previews
from gan_tasks.apps.web.served_models import open_models
from gan_tasks.datasets.images import ColourKind, ImageError, Picture, read
from gan_tasks.datasets.images.png_chunks import with_chunks

PIXELS = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)


def encoded(file_format: str, pixels: np.ndarray = PIXELS, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, file_format, **options)
    return file.getvalue()


def floats() -> bytes:
    file = io.BytesIO()
    np.save(file, np.linspace(-1, 1, 60, dtype=np.float32).reshape(4, 5, 3))
    return file.getvalue()


def hanging() -> bytes:
    """A progressive JPEG that takes about a second, as it has as many scans as it may."""
    data = encoded("JPEG", np.zeros((4000, 4000), np.uint8), progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * 50 + data[-2:]


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GOOD = {
    "a JPEG with a profile": encoded("JPEG", icc_profile=PROFILE),
    "a PNG with chunks": with_chunks(encoded("PNG"), [(b"gAMA", struct.pack(">I", 100_000))]),
    "a lossless WebP": encoded("WEBP", lossless=True),
    "16 bits": encoded("PNG", PIXELS[..., 0].astype(np.uint16) * 257),
    "floats": floats(),
}


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(20_000_000)
    yield decoder
    decoder.close()


def process_of(decoder: Decoder) -> int:
    assert decoder._process is not None
    return decoder._process.pid


def is_running(process: int) -> bool:
    """Also true for one that nobody has waited for."""
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def same(one: Picture, other: Picture) -> bool:
    return (
        np.array_equal(one.pixels, other.pixels)
        and one.pixels.dtype == other.pixels.dtype
        and (one.icc_profile, one.coding, one.notes) == (other.icc_profile, other.coding, other.notes)
    )


@pytest.mark.parametrize("kind", GOOD)
def test_the_picture_is_that_of_read(decoder: Decoder, kind: str) -> None:
    assert same(decoder.read(GOOD[kind]), read(GOOD[kind]))


def refuse(*arguments: object, **named: object) -> None:
    raise AssertionError("LittleCMS ran in the server's own process")


TABLE = PROFILE.replace(b"rTRC", b"A2B0")  # which is not a table, but from which LittleCMS shall read one
COLOURED = {
    "RGB": encoded("JPEG", icc_profile=TABLE),
    "gray without a curve": encoded("PNG", PIXELS[..., 0], icc_profile=PROFILE[:16] + b"GRAY" + PROFILE[20:]),
}


@pytest.mark.parametrize("kind", COLOURED)
@pytest.mark.parametrize("keep_profiles", [(), ("gray",), ("gray", "rgb")])
def test_colours_are_converted_in_the_process(
    decoder: Decoder, kind: str, keep_profiles: tuple[ColourKind, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = read(COLOURED[kind], keep_profiles=keep_profiles)
    monkeypatch.setattr(ImageCms, "profileToProfile", refuse)
    assert same(decoder.read(COLOURED[kind], keep_profiles=keep_profiles), expected)


def test_a_job_converts_no_colours_in_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for the model nor for the format of the result, nor where it lies on white."""
    paths = [write_onnx(tmp_path / f"{count}.onnx", in_channels=count, out_channels=count) for count in (1, 3)]
    monkeypatch.setattr(ImageCms, "profileToProfile", refuse)
    service = Service(open_models(paths), Limits(max_pixels=10_000))
    try:
        for served, data, suffix in product(service.models.values(), COLOURED.values(), (".png", ".webp")):
            request = JobRequest(served, {"image": data}, on_white=True)
            result = service.submit(request, tmp_path / f"result{suffix}").result()
            write_previews(result)
            assert result.after.pixels.shape == (13, 17, served.spec.out_channels)
    finally:
        service.close()


def test_a_refusal_is_that_of_read_and_the_process_goes_on(decoder: Decoder, tmp_path: Path) -> None:
    process = process_of(decoder) if decoder.read(GOOD["floats"]) else 0
    path = tmp_path / "photo.png"
    path.write_bytes(b"not an image, but long enough for a header")
    for source in (path, tmp_path / "nothing.png", path.read_bytes(), GOOD["16 bits"]):
        messages = []
        for function in (decoder.read, read):
            with pytest.raises(ImageError) as raised:
                function(source, max_pixels=100)
            messages.append(str(raised.value))
        assert messages[0] == messages[1]
    assert process_of(decoder) == process


def test_a_process_that_takes_too_long_is_killed_and_the_next_picture_is_read() -> None:
    decoder = Decoder(1000, seconds=0.5)
    try:
        decoder.read(GOOD["a lossless WebP"])
        process = process_of(decoder)
        os.kill(process, signal.SIGSTOP)
        with pytest.raises(ImageError, match=r"the image: takes too long to decode: save it again"):
            decoder.read(GOOD["floats"])
        assert not is_running(process)
        assert same(decoder.read(GOOD["floats"]), read(GOOD["floats"]))
    finally:
        decoder.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the address space is limited on Linux only")
def test_a_file_that_takes_too_much_memory_is_refused_and_the_next_is_read(decoder: Decoder) -> None:
    file = io.BytesIO()
    shape = {"descr": "<f8", "fortran_order": False, "shape": (20_000, 20_000, 4)}
    np.lib.format.write_array_header_1_0(file, shape)
    with pytest.raises(ImageError, match=r"the image: cannot be decoded .*allocate"):
        decoder.read(file.getvalue(), max_pixels=10**9)
    assert same(decoder.read(GOOD["floats"]), read(GOOD["floats"]))


@pytest.mark.skipif(sys.platform == "win32", reason="computing time is limited on Unix only")
def test_computing_time_is_limited_by_the_size_in_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds_per_value, is_read in ((0.0, False), (1e-5, True)):
        monkeypatch.setattr("gan_tasks.apps.web.decoding.decoder._SECONDS_PER_VALUE", seconds_per_value)
        decoder = Decoder(20_000_000, seconds=0.2)
        try:
            with nullcontext() if is_read else pytest.raises(ImageError, match="takes too long to decode"):
                assert decoder.read(hanging()).pixels.shape == (4000, 4000, 1)
            assert same(decoder.read(GOOD["floats"]), read(GOOD["floats"]))
        finally:
            decoder.close()


def test_after_the_process_was_killed_the_next_picture_is_read(decoder: Decoder) -> None:
    decoder.read(GOOD["floats"])
    process = process_of(decoder)
    os.kill(process, signal.SIGKILL)
    end = time.monotonic() + 10
    while is_running(process) and time.monotonic() < end:
        time.sleep(0.01)
    assert same(decoder.read(GOOD["floats"]), read(GOOD["floats"]))


def test_the_process_outlives_a_signal_to_all_and_ends_with_the_decoder() -> None:
    decoder = Decoder()
    decoder.read(GOOD["floats"])
    process = process_of(decoder)
    for each in (signal.SIGINT, signal.SIGTERM):  # as Ctrl+C and service managers send them to every process
        os.kill(process, each)
    decoder.read(GOOD["floats"])
    assert process_of(decoder) == process
    decoder.close()
    assert not is_running(process)


@pytest.mark.parametrize("is_busy", [False, True])
def test_the_process_ends_when_its_parent_is_killed(is_busy: bool, tmp_path: Path) -> None:
    (tmp_path / "next").write_bytes(hanging() if is_busy else b"text")
    script = (
        "import sys, time; from pathlib import Path; from gan_tasks.apps.web.decoding.decoder import Decoder\n"
        "decoder = Decoder(seconds=1)\n"
        "try: decoder.read(b'text')\n"
        "except ValueError: print(decoder._process.pid, flush=True)\n"
        "if len(sys.argv) > 2: decoder.read(Path(sys.argv[1]))\n"
        "time.sleep(60)"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "next"), *(["busy"] if is_busy else [])]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        process = int(parent.stdout.readline())
        parent.kill()
    end = time.monotonic() + 20
    while is_running(process) and time.monotonic() < end:
        time.sleep(0.02)
    assert not is_running(process)


def test_the_process_imports_no_torch_and_no_web_framework() -> None:
    script = (
        "import sys, gan_tasks.apps.web.decoding.worker\n"
        "print([name for name in ('torch', 'gradio', 'fastapi', 'onnxruntime') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"

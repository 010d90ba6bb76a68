"""Measure the speed of models that enlarge four times, compared with plain PyTorch and, for Real-ESRGAN's, with ncnn.

    python benchmarks/upscale.py [--size 96] [--rounds 7] [--threads 2] [--models realesrgan-x4plus span ...]

Real-ESRGAN's models and DAT-light have their own weights, DAT-light only if its package is installed. The other
networks have random ones (see `published_sizes.py`).

Plain PyTorch is float32 in inference mode on contiguous N×C×H×W, as in Real-ESRGAN's own code. Every form runs in
its own process and takes and returns a numpy array. All forms take turns in every round, so that a change in the
machine's speed affects all of them. Ratios compare times of the same round. The dB value is the PSNR to plain
PyTorch, of values in [0, 1].
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from gan_tasks.datasets.images import fit_channels, read, to_float
from gan_tasks.export.models.base import FloatImages
from gan_tasks.export.onnx.benchmark import fidelity_db
from gan_tasks.pretrained.bundled import find_bundled
from gan_tasks.pretrained.files.ncnn import PARAM_SUFFIX

RANDOM = ("span", "realplksr", "omnisr", "dat-light")
"""Networks that get random weights where there is no ready-made model."""
MODELS = ("realesrgan-x4plus", "realesrgan-animevideov3", *RANDOM)
READY_MADE = {"dat-light": "dat-light-x4"}
"""Names of ready-made models, where they differ."""
PLAIN, OWN, NCNN = "torch, plain", "torch, ours", "ncnn"
PROVIDERS = ("cpu", "cpu-winograd", "openvino", "openvino-winograd", "openvino-bf16")
FORMS = (PLAIN, OWN, *PROVIDERS, NCNN)
WARM_UP_RUNS = 2
Run = Callable[[FloatImages], FloatImages]
"""A function from 1×3×H×W to 1×3×4H×4W, both in [0, 1]."""


@dataclass(frozen=True)
class Measurement:
    """What all forms run: the model's name, weights and ONNX file, the number of threads, and the 1×3×H×W input."""

    model: str
    weights: Path
    onnx: Path
    threads: int
    image: FloatImages


def runner(form: str, measurement: Measurement) -> Run:
    """Return the function that runs the model once in this form."""
    if form == NCNN:
        return ncnn_runner(measurement)
    if form in PROVIDERS:
        from gan_tasks.export.onnx.apart.run import run_session
        from gan_tasks.export.onnx.file import read_onnx
        from gan_tasks.export.onnx.providers import Configuration, find_provider, start_session

        session = start_session(read_onnx(measurement.onnx), Configuration(find_provider(form), measurement.threads))
        return lambda image: run_session(session, {"image": image})

    import torch

    from gan_tasks.export.models.pretrained_model import PretrainedModel, Rescaled
    from gan_tasks.export.models.torch_model import run_strip_wise

    torch.set_num_threads(measurement.threads)
    model = PretrainedModel(measurement.weights, device="cpu")
    if form == OWN:
        return lambda image: np.asarray(model.run_network(image * 2 - 1) / 2 + 0.5, np.float32)
    run_strip_wise(model.network, False)
    assert isinstance(model.network, Rescaled)
    plain = model.network.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def run(image: FloatImages) -> FloatImages:
        with torch.inference_mode():
            made: FloatImages = plain(torch.from_numpy(image)).numpy()
        return made

    return run


def ncnn_runner(measurement: Measurement) -> Run:
    """Return the function that runs ncnn with its default settings: half precision and Winograd where supported."""
    import ncnn

    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = measurement.threads
    path = measurement.weights
    if path.suffix != PARAM_SUFFIX:
        raise RuntimeError("the weights are no file of ncnn")
    if net.load_param(str(path)) or net.load_model(str(path.with_suffix(".bin"))):
        raise RuntimeError(f"ncnn cannot load {path}")

    def run(image: FloatImages) -> FloatImages:
        extractor = net.create_extractor()
        extractor.input("data", ncnn.Mat(np.ascontiguousarray(image[0])).clone())
        status, output = extractor.extract("output")
        if status:
            raise RuntimeError(f"ncnn failed with {status}")
        return np.array(output)[None]

    return run


def find_weights(name: str, folder: Path) -> Path:
    """Return the file of a ready-made model, or else one in `folder`, with random weights."""
    bundled = find_bundled(Path(READY_MADE.get(name, name)))
    if bundled is not None and (bundled.is_installed or name not in RANDOM):
        return bundled.find()
    if name not in RANDOM:
        raise SystemExit(f"a file or folder here is called {name}: run from another folder")
    import torch
    from published_sizes import random_checkpoint

    path = folder / f"{name}.pth"
    torch.save(random_checkpoint(name), path)
    return path


def worker(form: str, measurement: Measurement, pipe: Connection) -> None:
    """Run in a process of its own: send the output or the error, then the seconds of a run for each request."""
    try:
        run = runner(form, measurement)
        pipe.send(run(measurement.image))
    except Exception as error:  # runtimes raise all kinds of exceptions; the other forms still run
        pipe.send(str(error).strip() or type(error).__name__)
        return
    while pipe.recv():
        start = time.perf_counter()
        run(measurement.image)
        pipe.send(time.perf_counter() - start)


def measure(measurement: Measurement, rounds: int) -> None:
    """Measure all forms and print a line for each."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    outputs: dict[str, FloatImages] = {}
    for form in FORMS:
        ours, theirs = context.Pipe()
        context.Process(target=worker, args=(form, measurement, theirs), daemon=True).start()
        output = ours.recv()
        if isinstance(output, str):
            print(f"  {form:<20}not measured: {output.splitlines()[-1]}", flush=True)
            continue
        pipes[form], outputs[form] = ours, output
    taken: dict[str, list[float]] = {form: [] for form in pipes}
    for _ in range(WARM_UP_RUNS + rounds):
        for form, pipe in pipes.items():
            pipe.send(True)
            taken[form].append(pipe.recv())
    for pipe in pipes.values():
        pipe.send(False)
    size = "×".join(map(str, measurement.image.shape[2:]))
    print(f"{measurement.model}, {size} px, {measurement.threads} threads, {rounds} rounds", flush=True)
    for form, times in taken.items():
        own = times[WARM_UP_RUNS:]
        fidelity = fidelity_db(outputs[form], outputs[PLAIN])
        ratios = [
            f"{statistics.median(a / b for a, b in zip(taken[other][WARM_UP_RUNS:], own, strict=True)):.2f}× {other}"
            for other in (PLAIN, NCNN)
            if other in taken
        ]
        decibels = "" if np.isinf(fidelity) else f"{fidelity:.0f} dB"
        print(f"  {form:<20}{statistics.median(own) * 1000:9.1f} ms  {', '.join(ratios)}  {decibels}", flush=True)


def crop(photo: Path | None, size: int) -> FloatImages:
    """Return the central crop of an image as 1×3×size×size in [0, 1]; None takes scikit-image's astronaut."""
    if photo is None:
        from skimage.data import astronaut

        pixels = astronaut()  # type: ignore[no-untyped-call]
    else:
        pixels = fit_channels(read(photo).pixels, 3)
    top, left = ((side - size) // 2 for side in pixels.shape[:2])
    if min(top, left) < 0:
        raise SystemExit(
            f"the image has {pixels.shape[0]}×{pixels.shape[1]} px; give a larger one, or a --size below {size}"
        )
    return np.asarray(to_float(pixels[top : top + size, left : left + size])[None] / 2 + 0.5, np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96, help="height and width of the crop in pixels")
    parser.add_argument("--photo", type=Path, help="image to crop; scikit-image's astronaut if not given")
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each form")
    parser.add_argument("--threads", type=int, default=2, help="number of threads of every form")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="models to measure")
    options = parser.parse_args()
    from gan_tasks.export.models.pretrained_model import PretrainedModel
    from gan_tasks.export.onnx.export import export_onnx

    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            path, weights = Path(folder, "model.onnx"), find_weights(name, Path(folder))
            export_onnx(PretrainedModel(weights, device="cpu"), path, model_name=name)
            image = crop(options.photo, options.size)
            measure(Measurement(name, weights, path, options.threads, image), options.rounds)


if __name__ == "__main__":
    main()

"""How fast Real-ESRGAN's models enlarge a crop: this project's forms beside plain PyTorch and ncnn, in one run.

    python benchmarks/upscale.py [--size 96] [--rounds 7] [--threads 2] [--models realesrgan-x4plus ...]

The plain form is float32 torch in inference mode on N×C×H×W in rows, as the published code runs it. Every form has a
process of its own, is given a numpy array and asked for one, and has its turn in every round, so that all see the
same moods of the machine; a ratio is of one round. The fidelity is the PSNR to the plain form, of values in [0, 1].
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

MODELS = ("realesrgan-x4plus", "realesrgan-animevideov3")
PLAIN, OWN, NCNN = "torch, plain", "torch, ours", "ncnn"
PROVIDERS = ("cpu", "cpu-winograd", "openvino", "openvino-winograd", "openvino-bf16")
FORMS = (PLAIN, OWN, *PROVIDERS, NCNN)
WARM_UP_RUNS = 2
Run = Callable[[FloatImages], FloatImages]
"""1×3×H×W to 1×3×4H×4W, both in [0, 1]."""


@dataclass(frozen=True)
class Contest:
    model: str
    onnx: Path
    threads: int
    image: FloatImages


def runner(form: str, contest: Contest) -> Run:
    if form == NCNN:
        return ncnn_runner(contest)
    if form in PROVIDERS:
        from gan_tasks.export.onnx.file import read_onnx
        from gan_tasks.export.onnx.model import OUTPUT
        from gan_tasks.export.onnx.providers import Configuration, find_provider, start_session

        session = start_session(read_onnx(contest.onnx), Configuration(find_provider(form), contest.threads))
        return lambda image: session.run([OUTPUT], {"image": image})[0]

    import torch

    from gan_tasks.export.models.pretrained_model import PretrainedModel

    torch.set_num_threads(contest.threads)
    model = PretrainedModel(bundled_path(contest.model), device="cpu")
    if form == OWN:
        return lambda image: model.run_network(image * 2 - 1) / 2 + 0.5
    for part in model.network.modules():
        part.strip_wise = False
    plain = model.network.network.to(memory_format=torch.contiguous_format)

    def run(image: FloatImages) -> FloatImages:
        with torch.inference_mode():
            made: FloatImages = plain(torch.from_numpy(image)).numpy()
        return made

    return run


def ncnn_runner(contest: Contest) -> Run:
    """With its own settings, which are the fastest: half precision and Winograd where it has them."""
    import ncnn

    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = contest.threads
    path = bundled_path(contest.model)
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


def bundled_path(name: str) -> Path:
    ready_made = find_bundled(Path(name))
    if ready_made is None:
        raise SystemExit(f"no ready-made model is called {name}, or a folder of that name hides it")
    return ready_made.find()


def worker(form: str, contest: Contest, pipe: Connection) -> None:
    """A process that sends its output, or why it has none, and then, whenever it is asked, the seconds of a run."""
    try:
        run = runner(form, contest)
        pipe.send(run(contest.image))
    except Exception as error:  # a runtime raises anything; it is this form's alone
        pipe.send(str(error).strip() or type(error).__name__)
        return
    while pipe.recv():
        start = time.perf_counter()
        run(contest.image)
        pipe.send(time.perf_counter() - start)


def measure(contest: Contest, rounds: int) -> None:
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    outputs: dict[str, FloatImages] = {}
    for form in FORMS:
        ours, theirs = context.Pipe()
        context.Process(target=worker, args=(form, contest, theirs), daemon=True).start()
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
    size = "×".join(map(str, contest.image.shape[2:]))
    print(f"{contest.model}, {size} px, {contest.threads} threads, {rounds} rounds", flush=True)
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
    """The middle of a photograph; of astronaut, which comes with scikit-image, where none is given."""
    if photo is None:
        from skimage.data import astronaut

        pixels = astronaut()
    else:
        pixels = fit_channels(read(photo).pixels, 3)
    top, left = ((side - size) // 2 for side in pixels.shape[:2])
    if min(top, left) < 0:
        raise SystemExit(f"the photograph has {pixels.shape[0]}×{pixels.shape[1]} pixels, less than --size {size}")
    return to_float(pixels[top : top + size, left : left + size])[None] / 2 + np.float32(0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96, help="height and width of the crop in pixels")
    parser.add_argument("--photo", type=Path, help="take the crop of this photograph")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2, help="of every form")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    options = parser.parse_args()
    from gan_tasks.export.load import load_model
    from gan_tasks.export.onnx.export import export_onnx

    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            export_onnx(load_model(name, device="cpu"), path, model_name=name)
            measure(Contest(name, path, options.threads, crop(options.photo, options.size)), options.rounds)


if __name__ == "__main__":
    main()

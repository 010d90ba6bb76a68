"""Exported networks in ONNX Runtime with CUDA and TensorRT, against the same networks in eager PyTorch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from inference import make_graph

from gan_tasks.export.models.base import FloatImages
from gan_tasks.export.onnx.apart.run import run_session
from gan_tasks.export.onnx.benchmark import fidelity_db
from gan_tasks.export.onnx.contract import OUTPUT
from gan_tasks.export.onnx.export import Graph, to_onnx
from gan_tasks.export.onnx.file import read_onnx
from gan_tasks.export.onnx.providers import Configuration, OnDevice, core_count, find_provider, missing, start_session
from gan_tasks.tasks.super_resolution import SuperResolution
from gpu.options import Options, Row, attempt
from gpu.steps import computing, seconds_of

TORCH_FORMS = {"torch, tf32": "tf32", "torch, bf16": "bf16"}


def rrdb_graph(options: Options) -> Graph:
    torch.manual_seed(0)
    task = SuperResolution(blocks=1, width=8) if options.tiny else SuperResolution()
    task.build(for_training=False)
    task.generators.eval()
    return Graph(task.generators["g"], task.spec())


def inference(options: Options) -> Iterator[Row]:
    """ResNet-9 at 256 × 256 px and RRDB-23 from 128 × 128 to 512 × 512 px, one image.

    `ms` has the copies from and to numpy arrays in it, `ms_on_device` has not: inputs and outputs stay on the GPU.
    """
    graphs: dict[str, tuple[Callable[[], Graph], int]] = {
        "RRDB-1" if options.tiny else "RRDB-23": (partial(rrdb_graph, options), 128)
    }
    if not options.tiny:
        graphs = {"ResNet-9": (partial(make_graph, "resnet-9"), 256)} | graphs
    on_gpu = options.device != "cpu"
    providers = ("cuda", "tensorrt", "tensorrt-fp16") if on_gpu else ("cpu",)
    with tempfile.TemporaryDirectory() as folder:
        for name, (make, size) in graphs.items():
            size = 16 if options.tiny else size
            image = np.random.default_rng(0).random((1, 3, size, size), np.float32)
            graph, path = make(), Path(folder) / f"{name}.onnx"
            with computing(options, "fp32") as runtime:
                network = graph.to(runtime.device)
                with torch.inference_mode():
                    expected: FloatImages = network(torch.from_numpy(image).to(runtime.device)).cpu().numpy()
            for form, precision in TORCH_FORMS.items():
                yield attempt(
                    {"network": name, "form": form}, partial(in_torch, options, graph, precision, image, expected)
                )
            for provider in providers:
                row: Row = {"network": name, "form": provider}
                if reason := missing(find_provider(provider)):
                    yield row | {"error": f"not run: {reason}"}
                else:
                    yield attempt(row, partial(in_session, options, make, path, provider, image, expected))


def in_torch(options: Options, graph: Graph, precision: str, image: FloatImages, expected: FloatImages) -> Row:
    with computing(options, precision) as runtime:
        runtime.place(graph)

        @torch.inference_mode()
        def run() -> FloatImages:
            with runtime.autocast():
                output: FloatImages = graph(torch.from_numpy(image).to(runtime.device)).float().cpu().numpy()
            return output

        there = torch.from_numpy(image).to(runtime.device)

        @torch.inference_mode()
        def run_there() -> None:
            with runtime.autocast():
                graph(there)

        return timed(options, run, run_there, runtime.device, expected)


def in_session(
    options: Options,
    make: Callable[[], Graph],
    path: Path,
    provider: str,
    image: FloatImages,
    expected: FloatImages,
) -> Row:
    from onnxruntime import OrtValue

    if not path.exists():
        path.write_bytes(to_onnx(make()).SerializeToString())
    session = start_session(read_onnx(path), Configuration(find_provider(provider), core_count()))
    name = session.get_inputs()[0].name
    bare = session.session if isinstance(session, OnDevice) else session
    device = "cuda" if isinstance(session, OnDevice) else "cpu"
    binding = bare.io_binding()  # type: ignore[union-attr]
    there = OrtValue.ortvalue_from_numpy(image, device, 0)
    binding.bind_ortvalue_input(name, there)
    binding.bind_output(OUTPUT, device, 0)

    def run_there() -> None:
        bare.run_with_iobinding(binding)  # type: ignore[union-attr]

    return timed(
        options, lambda: run_session(session, {name: image}), run_there, torch.device(options.device), expected
    )


def timed(
    options: Options,
    run: Callable[[], FloatImages],
    run_there: Callable[[], object],
    device: torch.device,
    expected: FloatImages,
) -> Row:
    return {
        "ms": seconds_of(run, device, options) * 1000,
        "ms_on_device": seconds_of(run_there, device, options) * 1000,
        "db": float(fidelity_db(run(), expected)),
    }

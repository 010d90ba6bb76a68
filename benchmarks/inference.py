"""Measure the speed of an exported network with each provider, compared with the same network in eager PyTorch.

    python benchmarks/inference.py [--size 256] [--seconds 60] [--networks resnet-9 unet-256]

The reference is eager float32 torch in inference mode, NCHW, with its default number of threads; like the sessions it
takes and returns a numpy array. Networks have full width and random weights. Every form runs in its own process, and
all forms take turns in every round, so that a change in the machine's speed affects all of them. Ratios compare times
of the same round.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gan_tasks.export.models.base import FloatImages
from gan_tasks.export.onnx.apart.run import run_session
from gan_tasks.export.onnx.benchmark import fidelity_db
from gan_tasks.export.onnx.file import read_onnx
from gan_tasks.export.onnx.providers import Configuration, configurations, start_session
from gan_tasks.export.onnx.test_vectors import blocks, to_feeds
from gan_tasks.spec import InputSpec, ModelSpec

if TYPE_CHECKING:
    from gan_tasks.export.onnx.export import Graph
    from gan_tasks.networks.blocks import Norm
    from gan_tasks.networks.translation import TranslationNetwork

NETWORKS: dict[TranslationNetwork, Norm] = {"resnet-9": "instance", "unet-256": "batch"}
"""Generator → normalisation of its paper."""
SPEC = ModelSpec("pix2pix", "translate", (InputSpec("image", "image", 3, "any"),), 3)
WARM_UP_RUNS = 2
Form = Configuration | None
"""An ONNX Runtime configuration; None is eager PyTorch."""


def make_graph(name: TranslationNetwork) -> Graph:
    """Build the module to export of a pix2pix generator, always with the same random weights."""
    import torch
    from torch import nn

    from gan_tasks.datasets.paired import PairedConfig
    from gan_tasks.export.onnx.export import Graph
    from gan_tasks.tasks.pix2pix import Pix2Pix, Pix2PixConfig

    torch.manual_seed(0)
    data = PairedConfig(source_channels=3, target_channels=3)
    task = Pix2Pix(Pix2PixConfig(generator=name, norm=NETWORKS[name], data=data))
    task.build(for_training=False)
    # Random weights and statistics with which every layer affects the output.
    for module in task.generators.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    task.generators.eval()
    return Graph(task.generators["g"], task.spec())


def export(name: TranslationNetwork, path: Path) -> None:
    """Write the network of this name as an ONNX file."""
    from gan_tasks.export.onnx.export import to_onnx

    path.write_bytes(to_onnx(make_graph(name)).SerializeToString())


def runner(form: Form, name: TranslationNetwork, path: Path) -> Callable[[dict[str, FloatImages]], FloatImages]:
    """Return a function that runs the network once."""
    if form is None:
        return make_graph(name).run
    session = start_session(read_onnx(path), form)
    return lambda feeds: run_session(session, feeds)


def worker(form: Form, name: TranslationNetwork, path: Path, size: int, pipe: Connection) -> None:
    """Run in a process of its own: send (seconds to load, output), then the seconds of a run for each request."""
    feeds = to_feeds(blocks(SPEC, size, size))
    start = time.perf_counter()
    run = runner(form, name, path)
    output = run(feeds)
    pipe.send((time.perf_counter() - start, output))
    while pipe.recv():
        start = time.perf_counter()
        run(feeds)
        pipe.send(time.perf_counter() - start)


def measure(name: TranslationNetwork, options: argparse.Namespace) -> None:
    """Measure all forms of one network and print a line for each."""
    # Of these networks, only the ResNet has layers for Winograd's minimal filtering.
    forms: tuple[Form, ...] = (
        None,
        *(one for one in configurations() if name == "resnet-9" or not one.provider.winograd),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export(name, path)
        context = multiprocessing.get_context("spawn")
        pipes, loads, outputs, processes = [], [], [], []
        for form in forms:
            ours, theirs = context.Pipe()
            process = context.Process(target=worker, args=(form, name, path, options.size, theirs), daemon=True)
            process.start()
            load_s, output = ours.recv()
            pipes.append(ours)
            loads.append(load_s)
            outputs.append(output)
            processes.append(process)

    def seconds(pipe: Connection) -> float:
        pipe.send(True)
        taken: float = pipe.recv()
        return taken

    for _ in range(WARM_UP_RUNS):
        for pipe in pipes:
            seconds(pipe)
    taken: list[list[float]] = [[] for _ in pipes]
    end = time.perf_counter() + options.seconds
    while time.perf_counter() < end or len(taken[0]) < 5:
        for pipe, times in zip(pipes, taken, strict=True):
            times.append(seconds(pipe))
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(False)
        process.join()
    print(f"{name} at {options.size}², {len(taken[0])} rounds", flush=True)
    for form, load_s, output, times in zip(forms, loads, outputs, taken, strict=True):
        ratios = [plain / own for plain, own in zip(taken[0], times, strict=True)]
        quartiles = statistics.quantiles(ratios, n=4)
        fidelity = fidelity_db(output, outputs[0])
        print(
            f"  {form or 'torch, eager'!s:<26}{statistics.median(times) * 1000:8.1f} ms  "
            f"{quartiles[1]:.2f}× ({quartiles[0]:.2f}–{quartiles[2]:.2f})  "
            + ("" if np.isinf(fidelity) else f"{fidelity:.0f} dB  ")
            + f"first result after {load_s:.1f} s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--seconds", type=float, default=60, help="duration of the measurement of each network")
    parser.add_argument(
        "--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="generators to measure"
    )
    options = parser.parse_args()
    for name in options.networks:
        measure(name, options)


if __name__ == "__main__":
    main()

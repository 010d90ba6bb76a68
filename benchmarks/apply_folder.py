"""Measure the throughput of `apply` on a folder of images, compared with a plain sequential loop.

    python benchmarks/apply_folder.py MODEL.onnx PHOTOS [--count 40] [--suffix .png] [--rounds 7]

Both do the same work with the same model in the same process, in alternation: decode, hash, run, encode, write and
sync each file.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gan_tasks import __version__
from gan_tasks.datasets.images import Picture, read, write
from gan_tasks.export.inference.apply import apply_to_files
from gan_tasks.export.inference.files.pairs import files_to_do
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.inference.provenance import xmp
from gan_tasks.export.load import load
from gan_tasks.export.models.hashing import sha256_of

Pairs = list[tuple[Path, Path]]


def run_sequentially(model: Predictor, pairs: Pairs) -> None:
    for before, after in pairs:
        image = read(before)
        mark = xmp(model.title, __version__, model_version="", source=sha256_of(before))
        write(after, Picture(model(image.pixels), image.icc_profile), xmp=mark)


def run_apply(model: Predictor, pairs: Pairs) -> None:
    done = apply_to_files(model, pairs, overwrite=True, quiet=True)
    assert done.written == len(pairs), done.failures


def seconds(form: Callable[[Predictor, Pairs], None], model: Predictor, pairs: Pairs) -> float:
    start = time.perf_counter()
    form(model, pairs)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the model to run, such as an ONNX file")
    parser.add_argument("photos", type=Path, help="a folder of JPEG files, searched recursively")
    parser.add_argument("--count", type=int, default=40, help="number of images")
    parser.add_argument("--suffix", default=".png", help="file format of the inputs and results")
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each form")
    options = parser.parse_args()
    model = load(options.model)
    with tempfile.TemporaryDirectory() as temporary:
        photos, results = Path(temporary, "photos"), Path(temporary, "results")
        photos.mkdir()
        for number, path in enumerate(sorted(options.photos.rglob("*.jpg"))[: options.count]):
            write(photos / f"{number:04}{options.suffix}", read(path))
        pairs = files_to_do(photos, results)
        taken: dict[str, list[float]] = {"sequential": [], "apply": []}
        for _ in range(options.rounds):
            for name, form in zip(taken, (run_sequentially, run_apply), strict=True):
                shutil.rmtree(results, ignore_errors=True)
                results.mkdir()
                taken[name].append(seconds(form, model, pairs))
    for name, times in taken.items():
        print(f"{name}: {len(pairs) / statistics.median(times):.2f} images/s")
    ratios = [serial / own for serial, own in zip(*taken.values(), strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"{middle:.2f}× (median of {len(ratios)} pairs, quartiles {low:.2f}–{high:.2f})")


if __name__ == "__main__":
    main()

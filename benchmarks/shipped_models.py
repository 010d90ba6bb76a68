"""Measure the models that ship on photographs that they were not trained on, beside their baselines.

    python benchmarks/shipped_models.py upscale-x4 restore-x1 --photos FOLDER --sets SET5 SET14 --out figures
    python benchmarks/shipped_models.py upscale-x4=runs/upscale-x4 --sets SET5 --out watched --images 10

A name alone is the model that ships, or the file NAME.onnx or the run folder NAME in --models. NAME=PATH measures any
model of that kind, such as a run that is in training.

Each model gets NAME.json and NAME.md in --out: means with 95 % intervals over the images, and what it should reach.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ship_model import texts_of
from shipped.data import OTHERS, Sources
from shipped.models import MODELS
from shipped.pages import page, write_figures, write_navigation, write_page
from shipped.pictures import write_picture
from shipped.results import Results

from gan_tasks.datasets.errors import UserError, did_you_mean
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.load import load
from gan_tasks.export.models.hashing import sha256_of

ROOT = Path(__file__).parents[1]
TEXTS, SHIPPED = Path("models/models.toml"), Path("models/gan_tasks_models")
"""In a checkout: what cards and pages say of the models, and the models that ship with their cards."""


def measured(name: str, model: Predictor, sources: Sources, command: str) -> Results:
    """Measure a model. Raises UserError if images that it needs are missing."""
    model.model.title = name
    tables, goals = MODELS[name](model, sources)
    return Results(name, model.model.version(), command, tuple(tables), tuple(goals))


def check_publishable(name: str, model: Predictor, sources: Sources, root: Path) -> None:
    """Raise UserError unless the figures will be those of all images, of the file that ships."""
    if sources.images is not None:
        raise UserError("--publish with --images: only figures of all images are published, give one of both")
    texts_of(name, root / TEXTS)
    file = root / SHIPPED / f"{name}.onnx"
    if not file.is_file():
        raise UserError(f"{file} is missing: add it by benchmarks/ship_model.py, then publish its figures")
    if model.model.version() != sha256_of(file):
        raise UserError(
            f"{model.model.place} is not the model of {file}, whose figures are published: give --models {SHIPPED}"
        )


def publish(results: Results, model: Predictor, sources: Sources, root: Path) -> None:
    """Write the figures into the model's card, and its page with a picture into the documents."""
    texts, docs = texts_of(results.name, root / TEXTS), root / "docs"
    write_figures(root / SHIPPED / f"{results.name}.md", results, texts)
    write_picture(docs / "models" / f"{results.name}.jpg", results.name, model, sources)
    write_page(docs, results.name, page(results, texts))
    write_navigation(root / "mkdocs.yml", docs)


def paths_of(words: Sequence[str]) -> dict[str, str]:
    """Split each word, see `split`. Raises UserError for a name that is given twice."""
    pairs = [split(word) for word in words]
    names = [name for name, _ in pairs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"{twice} is given twice: measure each kind of model once in a run")
    return dict(pairs)


def split(word: str) -> tuple[str, str]:
    """Split NAME or NAME=PATH. Raises UserError for an unknown name."""
    name, _, path = word.partition("=")
    if name not in MODELS:
        known = f"expected one of {', '.join(MODELS)}"
        raise UserError(f"there is no model {name}{did_you_mean(name, MODELS) or f': {known}'}")
    return name, path


def located(name: str, paths: dict[str, str], folder: Path | None) -> str:
    """Return the path or the name by which a model is loaded."""
    if paths.get(name) or folder is None:
        return paths.get(name) or name
    file = folder / f"{name}.onnx"
    return str(file if file.is_file() else folder / name)


def without_folders(word: str) -> str:
    """Return a word of the command for publication: a path becomes its last part, and NAME=PATH the name."""
    name, is_pair, value = word.partition("=")
    if name in MODELS:
        return name
    return f"{name}={Path(value).name}" if is_pair and name.startswith("--") else Path(word).name


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="NAME[=PATH]", help=f"one or more of {', '.join(MODELS)}")
    parser.add_argument("--models", dest="folder", type=Path, help="folder of ONNX files or run folders NAME")
    parser.add_argument("--photos", type=Path, help="folder of photographs")
    parser.add_argument(
        "--real", type=Path, help="folder of other photographs, which sets of results are compared with"
    )
    parser.add_argument(
        "--real-is",
        default=OTHERS,
        help="what these are, such as 'photographs of its training data'",
    )
    parser.add_argument("--sets", type=Path, nargs="+", default=[], help="folders such as Set5 and Set14")
    parser.add_argument("--masks", type=Path, help="folder of mask files")
    parser.add_argument("--data", type=Path, help="data folder of a model that translates")
    parser.add_argument("--split", choices=("train", "val", "test"), default="test", help="split of --data")
    parser.add_argument("--images", type=int, help="largest number of photographs")
    parser.add_argument(
        "--pictures", action="store_true", help="show each model before and after, as NAME.jpg in --out"
    )
    parser.add_argument("--publish", action="store_true", help="write the figures into the cards and the documents")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    options = parsed(arguments)
    paths = paths_of(options.models)

    def open_model(name: str) -> Predictor:
        model = load(located(name, paths, options.folder))
        model.model.title = name
        return model

    sources = Sources(
        photos=options.photos,
        real=options.real,
        real_is=options.real_is,
        sets=tuple(options.sets),
        masks=options.masks,
        data=options.data,
        split=options.split,
        images=options.images,
        open_model=open_model,
    )
    command = shlex.join(["python", "benchmarks/shipped_models.py", *map(without_folders, arguments)])
    models = {name: open_model(name) for name in paths}
    if options.publish:
        for name, model in models.items():
            check_publishable(name, model, sources, ROOT)
    for name, model in models.items():
        results = measured(name, model, sources, command)
        results.write(options.out)
        if options.pictures:
            write_picture(options.out / f"{name}.jpg", name, model, sources)
        if options.publish:
            publish(results, model, sources, ROOT)
        print(f"\n## {name}\n\n{results.markdown()}", flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")

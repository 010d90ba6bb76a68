"""The model card of a run, `RUN/model-card.md`: a description of the model for its users.

Its sections are those of Mitchell et al. 2019, https://arxiv.org/abs/1810.03993, as far as a run knows their content.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gan_tasks.datasets.errors import UserError, counted, printable
from gan_tasks.metrics.catalogue import KERNEL_DISTANCE, PER_IMAGE, Metric
from gan_tasks.metrics.statistics import interval_ends
from gan_tasks.runs.checkpoint import list_checkpoints, write_atomically
from gan_tasks.runs.folder import RunFolder
from gan_tasks.runs.json_file import described_by, read_object
from gan_tasks.spec import spec_from_json
from gan_tasks.tasks import find_task
from gan_tasks.tasks.own import OWN_TASK

FILE = "model-card.md"
NOT_STATED = "not stated"


def write_model_card(run: Path) -> Path:
    """Write the model card of a run and return its path. Raises UserError if a JSON file of the run is damaged."""
    path = run / FILE
    write_atomically(path, model_card(run).encode())
    return path


def model_card(run: Path, *, licence: str = "", training_data: str = "") -> str:
    """Return the model card as Markdown, from config.json, the checkpoints and, if it exists, evaluation.json.

    Args:
        licence: the licence of the model.
        training_data: a description of the training data. The default is the name of the folder, without its path,
            because paths are private.
    """
    config, evaluation = (read_object(run / name) for name in ("config.json", "evaluation.json"))
    with described_by(run / "config.json", run / "evaluation.json"):
        return printable("\n".join(card_lines(run, config, evaluation, licence, training_data)))


def card_lines(
    run: Path, config: Mapping[str, Any], evaluation: Mapping[str, Any], licence: str, training_data: str
) -> list[str]:
    entries = run_entries(config, licence=licence, training_data=training_data)
    entries["Checkpoint"] = checkpoint_in_use(RunFolder(run))
    return [
        *head_lines(run.resolve().name, str(config.get("task", "")), entries),
        "## Results",
        "",
        *(figures(evaluation) if evaluation else ["Not evaluated yet: `gan-tasks evaluate RUN --data DIR`."]),
        "",
        "## Known limits",
        "",
        *(limits(evaluation) if evaluation else ["Unknown: the model has not been evaluated."]),
        "",
    ]


def run_entries(config: Mapping[str, Any], *, licence: str, training_data: str) -> dict[str, str]:
    """Return the entries of a card that the config.json of a run knows, by name."""
    task, folder = str(config.get("task", "")), Path(str(config.get("data", "")))
    entries = {
        "Task": f"{task}, {summary(task)}",
        "Training data": training_data or folder.name or NOT_STATED,
        "Licence": licence or NOT_STATED,
        "Training command": f"`{command_without_paths(config, folder)}`",
        "Trained with": ", ".join(f"{name} {number}" for name, number in config.get("versions", {}).items()),
        "Hardware": str(config.get("hardware", NOT_STATED)),
    }
    if names := list(class_names(config)):
        entries["Classes"] = "; ".join(map(", ".join, names))
    return entries


def head_lines(name: str, task: str, entries: Mapping[str, str]) -> list[str]:
    """Return the lines of a card above its results: the title, the entries and the intended use."""
    return [
        f"# Model card: {name}",
        "",
        *(f"- {entry}: {text}" for entry, text in entries.items()),
        "",
        "## Intended use",
        "",
        f"The model is for images like the training images. Its task: {summary(task)}. The details that it adds "
        "are plausible, but invented: its output is no evidence of what was there, and must not be used for "
        "decisions about people.",
        "",
    ]


def class_names(config: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the names of the classes of each input that is a label with names."""
    if "spec" in config:
        yield from (each.names for each in spec_from_json(config["spec"]).inputs if each.names)


def pretrained_card(task: str, source: str, family: str, *, licence: str, training_data: str) -> str:
    """Return the model card of a public checkpoint, as Markdown."""
    lines = [
        f"# Model card: {source}",
        "",
        f"- Task: {task}, {summary(task)}",
        f"- Published by: authors or users of {family}. This is the file {source}; it was not trained with gan-tasks",
        f"- Training data: {training_data}",
        f"- Licence: {licence}",
        "",
        "The file does not state its intended use and its limits: see the place where it was published.",
        "",
    ]
    return printable("\n".join(lines))


def summary(task: str) -> str:
    try:
        return find_task(task).summary
    except UserError:  # a task that is not known here
        return OWN_TASK


def command_without_paths(config: Mapping[str, Any], data: Path) -> str:
    """Return the training command with each path shortened to its last part, because paths are private."""
    words = str(config.get("command", NOT_STATED)).split(" ")
    return " ".join(Path(word).name if "/" in word and not word.startswith("-") else word for word in words)


def checkpoint_in_use(run: RunFolder) -> str:
    if run.best:
        return f"{run.best.name}, the best by its metric on held-out images"
    checkpoints = list_checkpoints(run.checkpoints)
    return f"{checkpoints[-1].name}, the newest" if checkpoints else "none yet"


def figures(evaluation: Mapping[str, Any]) -> Iterator[str]:
    images, real = counted(evaluation["images"], "image"), evaluation.get("real_images")
    if real is not None:  # of a generator
        images = f"{counted(evaluation['images'], 'sample')} beside {counted(real, 'real image')}"
    yield (
        f"{images} of the {evaluation['split']} split of {Path(evaluation['data']).name}, evaluated with "
        f"{evaluation.get('name', 'this model')}: means with 95 % intervals."
    )
    yield ""
    rows = {"This model": evaluation.get("model", {}), **evaluation.get("baselines", {})}
    metrics = [metric for metric in PER_IMAGE if metric.key in rows["This model"]]
    if metrics:
        yield "| | " + " | ".join(metric.heading for metric in metrics) + " |"
        yield "|---|" + "---|" * len(metrics)
        for name, row in rows.items():
            yield f"| {name} | " + " | ".join(figure_text(row.get(m.key), m) for m in metrics) + " |"
        yield ""
    if sets := evaluation.get("set_metrics"):
        distance = figure_text(sets["kernel_distance"], KERNEL_DISTANCE)
        real_vs_real = figure_text(evaluation.get("real_vs_real"), KERNEL_DISTANCE)
        beside = ""
        if real is None:
            inputs = figure_text((evaluation.get("inputs") or {}).get("kernel_distance"), KERNEL_DISTANCE)
            beside = f"untranslated inputs {inputs}; "
        yield (
            f"{KERNEL_DISTANCE.heading} by {evaluation['features']}: {distance}; {beside}"
            f"halves of the real images {real_vs_real}."
        )
        yield ""
        if real is not None:
            named = ("precision", "recall", "density", "coverage", "diversity")
            values = (f"{name} {sets[name]:.2f}" for name in named if sets.get(name) is not None)
            yield f"By the same features: {', '.join(values)}."
            yield ""
    yield str(evaluation.get("verdict", ""))


def figure_text(figure: Any, metric: Metric) -> str:
    if not isinstance(figure, Mapping):
        return "–"
    mean, low, high = (float(figure[key]) * metric.scale for key in ("mean", "low", "high"))
    ends = interval_ends(low, high, metric.digits)
    return f"{mean:.{metric.digits}f}" + (f" [{', '.join(ends)}]" if ends else "")


def limits(evaluation: Mapping[str, Any]) -> Iterator[str]:
    if (sizes := evaluation.get("sizes")) and evaluation.get("real_images") is None:
        small, large = (f"{height} × {width}" for height, width in sizes)
        sizes_text = small if small == large else f"{small} to {large}"
        yield f"- Evaluated sizes, height × width in pixels: {sizes_text}. Other sizes were not evaluated."
    if worst := worst_images(evaluation):
        yield f"- Worst images: {worst}."
    if drift := evaluation.get("colour_drift"):
        levels = ", ".join(f"{value:+.1f}" for value in drift)
        yield f"- Colour drift (mean of outputs minus mean of real images), by channel in levels of 255: {levels}."
    if memorization := evaluation.get("memorization"):
        yield (
            f"- Memorization: the distance to the nearest of "
            f"{counted(memorization['searched'], 'training image')} is "
            f"{memorization['ratio']:.2f} times as large for an output as for a held-out real image "
            "(medians). A ratio far below 1 means that the model repeats training images."
        )
    for remark in evaluation.get("notes", ()):
        yield f"- {remark}"


def worst_images(evaluation: Mapping[str, Any]) -> str:
    per_image = evaluation.get("per_image", {})
    metric = next((metric for metric in PER_IMAGE if metric.key in per_image), None)
    if metric is None:
        return ""
    numbered = [(float(value), name) for value, name in zip(per_image[metric.key], evaluation["names"], strict=True)]
    worst = sorted(numbered, reverse=metric.lower_is_better)[:3]
    return ", ".join(f"{name} ({metric.heading} {value:.{metric.digits}f})" for value, name in worst)

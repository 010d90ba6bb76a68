"""The model card of a run: what the model is, for whoever gets it. `RUN/model-card.md`.

Its parts are those of Mitchell et al. 2019, https://arxiv.org/abs/1810.03993, as far as a run knows them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gan_tasks.datasets.errors import UserError
from gan_tasks.metrics.catalogue import KERNEL_DISTANCE, PER_IMAGE, Metric
from gan_tasks.runs.checkpoint import list_checkpoints, write_atomically
from gan_tasks.runs.folder import RunFolder, read_object
from gan_tasks.tasks import find_task

FILE = "model-card.md"
NOT_STATED = "not stated"


def write_model_card(run: Path) -> Path:
    """Write the card from what the run folder holds, and return its path. Raises UserError for a damaged file."""
    path = run / FILE
    write_atomically(path, model_card(run).encode())
    return path


def model_card(run: Path, *, licence: str = "", training_data: str = "") -> str:
    """The card as Markdown: from config.json, the checkpoints and, where it was evaluated, evaluation.json.

    Args:
        licence: of the model, in the owner's own words.
        training_data: likewise; the name of the folder if not given. Its path, which tells of the machine, is left
            out.
    """
    config, evaluation = read_object(run / "config.json"), read_object(run / "evaluation.json")
    task = str(config.get("task", ""))
    folder = Path(str(config.get("data", "")))
    lines = [
        f"# Model card: {run.resolve().name}",
        "",
        f"- Task: {task}, {summary(task)}",
        f"- Training data: {training_data or folder.name or NOT_STATED}",
        f"- Licence: {licence or NOT_STATED}",
        f"- Training command: `{command_without_paths(config, folder)}`",
        f"- Trained with: {', '.join(f'{name} {number}' for name, number in config.get('versions', {}).items())}",
        f"- Hardware: {config.get('hardware', NOT_STATED)}",
        f"- Checkpoint: {checkpoint_in_use(RunFolder(run))}",
        "",
        "## Intended use",
        "",
        f"To do to images like those of the training what the task says: {summary(task)}. What it adds is plausible, "
        "not measured: its output is no evidence of what was there, and none for decisions about people.",
        "",
        "## Figures",
        "",
        *(figures(evaluation) if evaluation else ["Not evaluated yet: `gan-tasks evaluate RUN --data DIR`."]),
        "",
        "## Limits seen",
        "",
        *(limits(evaluation) if evaluation else ["Not looked for: the model was not evaluated."]),
        "",
    ]
    return "\n".join(lines)


def pretrained_card(task: str, source: str, family: str, *, licence: str, training_data: str) -> str:
    """Of a checkpoint that others published, which says next to nothing of itself."""
    lines = [
        f"# Model card: {source}",
        "",
        f"- Task: {task}, {summary(task)}",
        f"- Published by: users or authors of {family}; this is the file {source}, not trained here",
        f"- Training data: {training_data}",
        f"- Licence: {licence}",
        "",
        "Its makers' own words on intended use and limits are not in the file: look where it came from.",
        "",
    ]
    return "\n".join(lines)


def summary(task: str) -> str:
    try:
        return find_task(task).summary
    except UserError:  # a task that is not installed here
        return "a task of its own"


def command_without_paths(config: Mapping[str, Any], data: Path) -> str:
    """As it was typed, each word that is a path by its last part: a card travels, and paths tell of the machine."""
    words = str(config.get("command", NOT_STATED)).split(" ")
    return " ".join(Path(word).name if "/" in word and not word.startswith("-") else word for word in words)


def checkpoint_in_use(run: RunFolder) -> str:
    if run.best:
        return f"{run.best.name}, the best by its held-out measure"
    checkpoints = list_checkpoints(run.checkpoints)
    return f"{checkpoints[-1].name}, the newest" if checkpoints else "none yet"


def figures(evaluation: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"{evaluation['images']} images of the {evaluation['split']} split of {Path(evaluation['data']).name}, "
        f"answered by {evaluation.get('name', 'this model')}; means with 95 % intervals."
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
        untranslated = figure_text((evaluation.get("inputs") or {}).get("kernel_distance"), KERNEL_DISTANCE)
        real_vs_real = figure_text(evaluation.get("real_vs_real"), KERNEL_DISTANCE)
        yield (
            f"{KERNEL_DISTANCE.heading} by {evaluation['features']}: {distance}; untranslated inputs {untranslated}; "
            f"halves of the real images {real_vs_real}."
        )
        yield ""
    yield str(evaluation.get("verdict", ""))


def figure_text(figure: Any, metric: Metric) -> str:
    if not isinstance(figure, Mapping):
        return "–"
    mean, low, high = (float(figure[key]) * metric.scale for key in ("mean", "low", "high"))
    return f"{mean:.{metric.digits}f} [{low:.{metric.digits}f}, {high:.{metric.digits}f}]"


def limits(evaluation: Mapping[str, Any]) -> Iterator[str]:
    if sizes := evaluation.get("sizes"):
        small, large = (f"{height} × {width}" for height, width in sizes)
        seen = small if small == large else f"{small} to {large}"
        yield f"- Sizes measured, height × width in pixels: {seen}. Others were not."
    if worst := worst_images(evaluation):
        yield f"- Worst images: {worst}."
    if drift := evaluation.get("colour_drift"):
        levels = ", ".join(f"{value:+.1f}" for value in drift)
        yield f"- Colour drift, mean of outputs minus that of real images, by channel in levels of 255: {levels}."
    if memory := evaluation.get("memorization"):
        yield (
            f"- Repeating of training images: the nearest of {memory['searched']} is {memory['ratio']:.2f} times as "
            "far from an output as from a held-out real image (medians; far below 1, the model repeats)."
        )
    for note in evaluation.get("notes", ()):
        yield f"- {note}"


def worst_images(evaluation: Mapping[str, Any]) -> str:
    per_image = evaluation.get("per_image", {})
    metric = next((metric for metric in PER_IMAGE if metric.key in per_image), None)
    if metric is None:
        return ""
    numbered = [(float(value), name) for value, name in zip(per_image[metric.key], evaluation["names"], strict=True)]
    worst = sorted(numbered, reverse=metric.lower_is_better)[:3]
    return ", ".join(f"{name} ({metric.heading} {value:.{metric.digits}f})" for value, name in worst)

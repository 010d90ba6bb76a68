"""What is published of the measured figures: a block in the model's card, and its page in the documents."""

from __future__ import annotations

import re
from pathlib import Path

from ship_model import FIGURES_BEGIN, FIGURES_END, Texts

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images.atomic import write_bytes
from shipped.pictures import SHOWN
from shipped.results import Results

LIST_BEGIN, LIST_END = "<!-- models -->", "<!-- /models -->"
NAVIGATION_BEGIN, NAVIGATION_END = "      # models", "      # end of models"
USE = {"fill": "gan-tasks apply fill photo.jpg result.png --mask mask.png"}
"""The command that uses a model, where it needs more than a photograph."""
PAGE = """# {name}

{summary}.

![{name}: before and after]({name}.jpg)

{credit}

## Use

```bash
{use}
```

## Figures

{figures}

## Limits

{limits}

## Training

Data: {training_data}. Licence: {licence}. Time: {training_time}.

```bash
{training_command}
```
"""


def write_figures(card: Path, results: Results, texts: Texts) -> None:
    """Write the figures into a card. Raises UserError if it has no place for them."""
    replace_block(card, FIGURES_BEGIN, FIGURES_END, figures(results, texts))


def figures(results: Results, texts: Texts) -> str:
    return f"Measured on {texts.test_data}.\n\n{results.markdown()}"


def page(results: Results, texts: Texts) -> str:
    """Return the page of a model in the documents."""
    return PAGE.format(
        name=results.name,
        use=USE.get(results.name, f"gan-tasks apply {results.name} photo.jpg result.png"),
        summary=texts.summary[:1].upper() + texts.summary[1:],
        credit=SHOWN[results.name].credit,
        figures=figures(results, texts),
        limits="\n".join(f"- {limit}" for limit in texts.limits),
        training_data=texts.training_data,
        licence=texts.licence,
        training_time=texts.training_time,
        training_command=texts.training_command,
    )


def write_page(docs: Path, name: str, text: str) -> None:
    """Write the page of a model, and the list of all models in the index."""
    write_bytes(docs / "models" / f"{name}.md", text.encode())
    rows = [f"| [{page.stem}]({page.name}) | {summary_of(page)} |" for page in pages_of(docs)]
    table = "\n".join(["| Model | For |", "|---|---|", *rows])
    replace_block(docs / "models" / "index.md", LIST_BEGIN, LIST_END, f"\n{table}\n")


def write_navigation(configuration: Path, docs: Path) -> None:
    """Write the pages of all models into mkdocs.yml. Raises UserError if it has no place for them."""
    lines = [f"      - {page.stem}: models/{page.name}" for page in pages_of(docs)]
    replace_block(configuration, NAVIGATION_BEGIN, NAVIGATION_END, "\n".join(lines))


def pages_of(docs: Path) -> list[Path]:
    return sorted(page for page in (docs / "models").glob("*.md") if page.name != "index.md")


def summary_of(page: Path) -> str:
    """Return the first paragraph of a page."""
    return page.read_text(encoding="utf-8").split("\n\n")[1]


def replace_block(path: Path, begin: str, end: str, content: str) -> None:
    """Replace what is between two lines of a file. Raises UserError unless it has both once."""
    text = path.read_text(encoding="utf-8")
    block = re.compile(rf"^{re.escape(begin)}$.*?^{re.escape(end)}$", re.DOTALL | re.MULTILINE)
    if len(block.findall(text)) != 1:
        raise UserError(f"{path} has not the lines {begin.strip()} and {end.strip()} once: add them")
    write_bytes(path, block.sub(lambda found: f"{begin}\n{content}\n{end}", text).encode())

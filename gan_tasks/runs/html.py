"""What the pages of reports are put together from. Whatever comes from a file is escaped by who puts it in."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gan_tasks.runs.style import STYLE

PICTURE_WIDTH_PX = 1600
RIGHT = ' class="right"'
"""Of a cell that holds a number."""


def page(title: str, sections: Iterable[str]) -> str:
    """A whole page that needs nothing else; `sections` are HTML, the title is text."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"{''.join(sections)}</main></body></html>\n"
    )


def section(heading: str, content: str) -> str:
    """A section under its heading, which is text; nothing at all if there is nothing to say."""
    return f"<section><h2>{escape(heading)}</h2>{content}</section>" if content else ""


def table(
    label: str,
    corner: str,
    heads: Sequence[str],
    rows: Sequence[tuple[str, Sequence[str]]],
    *,
    words: Sequence[str] = (),
) -> str:
    """A table that scrolls in its panel.

    Heads are HTML, those in `words` of columns that hold words; the first cell of a row is text, the others are
    `<td>` elements.
    """
    columns = "".join(f'<th scope="col"{"" if head in words else RIGHT}>{head}</th>' for head in heads)
    body = "".join(f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>' for name, cells in rows)
    return (
        f'<div class="panel scroll" tabindex="0" role="region" aria-label="{escape(label)}">'
        f'<table><thead><tr><th scope="col">{escape(corner)}</th>{columns}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def embedded(
    picture: NDArray[np.uint8] | Image.Image, alt: str, caption: str, *, width_px: int = PICTURE_WIDTH_PX
) -> str:
    """A picture as JPEG within the page, at most `width_px` wide."""
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    image = image.convert("RGB")
    image.thumbnail((width_px, 100 * width_px))
    encoded = io.BytesIO()
    image.save(encoded, format="JPEG", quality=90, subsampling=0)
    data = base64.b64encode(encoded.getvalue()).decode("ascii")
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" width="{image.width}" height="{image.height}" '
        f'alt="{escape(f"{alt}: {caption}")}"><figcaption>{escape(caption)}</figcaption></figure>'
    )

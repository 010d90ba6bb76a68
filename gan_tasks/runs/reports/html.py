"""Building blocks of the HTML reports. The caller escapes text that comes from files."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gan_tasks.runs.reports.style import STYLE

IMAGE_WIDTH_PX = 1600
RIGHT = ' class="right"'
"""The attribute of a table cell that holds a number."""


def page(title: str, sections: Iterable[str], *, refresh_s: int = 0) -> str:
    """Return a self-contained HTML page. `sections` are HTML, `title` is plain text.

    An open browser loads the page again every `refresh_s` seconds; 0 = never.
    """
    refresh = f'<meta http-equiv="refresh" content="{refresh_s}">' if refresh_s else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{refresh}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"{''.join(sections)}</main></body></html>\n"
    )


def section(heading: str, content: str) -> str:
    """Return a section with a plain-text heading, or the empty string if there is no content."""
    return f"<section><h2>{escape(heading)}</h2>{content}</section>" if content else ""


def table(
    label: str,
    corner: str,
    heads: Sequence[str],
    rows: Sequence[tuple[str, Sequence[str]]],
    *,
    words: Sequence[str] = (),
) -> str:
    """Return a table that scrolls in its panel.

    Args:
        label: the accessible name of the table.
        corner: plain text of the top left cell.
        heads: HTML of the column headings.
        rows: of each row the plain text of its first cell, and the other cells as `<td>` elements.
        words: those of `heads` whose columns hold words. All other columns hold numbers and are aligned right.
    """
    columns = "".join(f'<th scope="col"{"" if head in words else RIGHT}>{head}</th>' for head in heads)
    body = "".join(f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>' for name, cells in rows)
    return (
        f'<div class="panel scroll" tabindex="0" role="region" aria-label="{escape(label)}">'
        f'<table><thead><tr><th scope="col">{escape(corner)}</th>{columns}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def embedded(
    image: NDArray[np.uint8] | Image.Image, alt: str, caption: str, *, width_px: int = IMAGE_WIDTH_PX
) -> str:
    """Return a figure with the image embedded as JPEG, at most `width_px` pixels wide."""
    shown = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    shown = shown.convert("RGB")
    shown.thumbnail((width_px, 100 * width_px))
    encoded = io.BytesIO()
    shown.save(encoded, format="JPEG", quality=90, subsampling=0)
    data = base64.b64encode(encoded.getvalue()).decode("ascii")
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" width="{shown.width}" height="{shown.height}" '
        f'alt="{escape(f"{alt}: {caption}")}"><figcaption>{escape(caption)}</figcaption></figure>'
    )

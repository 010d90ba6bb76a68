"""The names of the kinds of masks that `draw.py` draws. This module imports nothing else of the package."""

from typing import Literal

MaskKind = Literal["free-form", "strokes", "box", "inverse", "blobs", "border", "damage"]

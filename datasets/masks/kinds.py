"""The kinds of drawn holes, by name; `masks` draws them. Imports nothing heavy."""

from typing import Literal

MaskKind = Literal["free-form", "strokes", "box", "inverse", "blobs", "border", "damage"]

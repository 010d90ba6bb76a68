"""Metadata of files that an earlier version exported, under the names that this version gives them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from gan_tasks.spec import InputSpec, ModelSpec, Use, spec_to_json

TEST_VECTOR = "case_"
"""Earlier prefix of the entries of test vectors."""


def renamed_entries(entries: Mapping[str, str], inputs: Sequence[str], *, test_vector: str) -> dict[str, str]:
    """Return metadata entries with the names of this version, and with a spec in place of its single values.

    A file whose values are incomplete or invalid gets no spec. Without masks, a file of scale 1 is read as one that
    translates: earlier files do not tell more.

    inputs: names of the graph's inputs, of which the first was an image and all others were masks.
    test_vector: prefix of the entries of test vectors.
    """
    if "spec" in entries:
        return dict(entries)
    renamed = {
        f"{test_vector}{key.removeprefix(TEST_VECTOR)}" if key.startswith(TEST_VECTOR) else key: value
        for key, value in entries.items()
    }
    try:
        spec = spec_of_entries(entries, inputs)
    except (KeyError, ValueError):
        return renamed
    return renamed | {"spec": json.dumps(spec_to_json(spec))}


def spec_of_entries(entries: Mapping[str, str], inputs: Sequence[str]) -> ModelSpec:
    """Raises KeyError for a missing entry and ValueError for an invalid one."""
    image, *masks = inputs
    scale = int(entries["scale"])
    use: Use = "inpaint" if masks else "upscale" if scale > 1 else "translate"
    return ModelSpec(
        entries["task"],
        use,
        (
            InputSpec(image, "image", int(entries["in_channels"]), "any"),
            *(InputSpec(name, "mask", optional=place > 0) for place, name in enumerate(masks)),
        ),
        int(entries["out_channels"]),
        scale,
        int(entries["size_multiple"]),
        int(entries["minimum_size"]),
        receptive_field=int(entries["overlap"]) * 3 // 8,  # see `tiling.rise`
        direction=entries.get("direction", ""),
    )

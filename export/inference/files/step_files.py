"""Files of the results of the steps of a chain, beside the result itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StepFiles:
    """Where the results of the steps are written: FOLDER/photo.jpg.1-descratch.png is of the first step.

    folder: the folder of these files. Results in subfolders have their files in subfolders of the same names.
    results: the file or folder that the results of the chain are written to.
    """

    folder: Path
    results: Path

    def of(self, after: Path, titles: Sequence[str]) -> Iterator[Path]:
        """Yield the file of each step of a result, of which `titles` are the models. The last step is the result."""
        is_in_folder = after != self.results and after.is_relative_to(self.results)
        name = after.relative_to(self.results) if is_in_folder else Path(after.name)
        for number, title in enumerate(titles[:-1], start=1):
            plain = re.sub(r"[^\w.-]+", "-", title).strip("-")[:50] or "step"
            yield self.folder / name.with_name(f"{name.name}.{number}-{plain}.png")

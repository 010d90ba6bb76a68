"""Files of the results of the steps of a chain, beside the result itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, Pixels
from gan_tasks.datasets.images.formats import check_length
from gan_tasks.export.chains.chain import Chain
from gan_tasks.export.inference.predictor import Prediction, Predictor
from gan_tasks.export.inference.resume import is_current, replaceable
from gan_tasks.export.models.base import Model


@dataclass(frozen=True)
class StepFiles:
    """Where the results of the steps are written: FOLDER/photo.jpg.1-descratch.png is of the first step.

    folder: the folder of these files. Results in subfolders have their files in subfolders of the same names.
    results: the file or folder that the results of the chain are written to.
    """

    folder: Path
    results: Path

    def of(self, after: Path, titles: Sequence[str]) -> tuple[Path, ...]:
        """Return the file of each step of a result, of which `titles` are the models.

        Raises UserError for a name that is too long.
        """
        is_in_folder = after != self.results and after.is_relative_to(self.results)
        name = after.relative_to(self.results) if is_in_folder else Path(after.name)
        plain = [re.sub(r"[^\w.-]+", "-", title).strip("-")[:50] or "step" for title in titles]
        files = tuple(
            self.folder / name.with_name(f"{name.name}.{number}-{each}.png")
            for number, each in enumerate(plain, start=1)
        )
        for file in files:
            check_length(file)
        return files


@dataclass(frozen=True)
class KeptSteps:
    """The steps of a chain that have files of their own: all but the last one, whose result is that of the chain.

    titles: the model of each step.
    made_by: the chain up to each step, which its file is marked with.
    versions: identify these chains in the marks.
    """

    step_files: StepFiles
    titles: tuple[str, ...]
    made_by: tuple[Predictor, ...]
    versions: tuple[str, ...]

    @classmethod
    def of(cls, model: Model, step_files: StepFiles) -> KeptSteps:
        chains = [Chain(model.steps[:number]) for number in range(1, len(model.steps))]
        titles = tuple(step.title for step in model.steps[:-1])
        return cls(step_files, titles, tuple(map(Predictor, chains)), tuple(chain.version() for chain in chains))

    def files_of(self, after: Path) -> tuple[Path, ...]:
        """Return the file of each step of a result. Raises UserError for a name that is too long."""
        return self.step_files.of(after, self.titles)

    def are_done(self, before: Path, after: Path, source_of: Callable[[Path], str]) -> bool:
        """Return whether all files exist and were made by these models from the present content of the input.

        source_of: returns the text that identifies the input in a mark, see `resume.is_done`.

        Raises UserError for a file of another program, and for a name that is too long.
        """
        return all(
            file.exists() and is_current(replaceable(file), before, file, version, source_of)
            for file, version in zip(self.files_of(after), self.versions, strict=True)
        )

    def writer(self, files: Sequence[Path], *, like: Picture | None, source: str) -> Callable[[Pixels], None]:
        """Return what writes the result of one step after the other with its mark, see `PredictOptions.on_step`.

        like, source: as of `Predictor.write`. It raises UserError for a file that cannot be written.
        """
        to_write = zip(files, self.made_by, self.versions, strict=True)

        def write(pixels: Pixels) -> None:
            file, made_by, version = next(to_write)
            try:
                made_by.write(file, Prediction(pixels), like=like, version=version, source=source)
            except OSError as error:
                raise UserError(f"{file} cannot be written: {error.strerror or error}") from error

        return write

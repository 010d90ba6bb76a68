"""Models whose files are opened when they are first used, of which a few at a time take memory. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from gan_tasks.export.models.base import FloatImages
from gan_tasks.export.onnx.apart.session import ApartSession
from gan_tasks.export.onnx.file import read_onnx
from gan_tasks.export.onnx.model import OnnxModel, check_unchanged

NOT_YET = "a runtime that is chosen when the model is first used"


class OpenModels:
    """The models that are open: at most `limit`. The one that was used longest ago gives way. For one thread."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._models: list[OnDemandModel] = []
        """The one used longest ago is first."""

    def use(self, model: OnDemandModel) -> None:
        """Note that a model is used now, and close others over the limit."""
        self._models = [each for each in self._models if each is not model]
        while len(self._models) >= self.limit:
            self._models.pop(0).close()
        self._models.append(model)


class OnDemandModel(OnnxModel):
    """An `OnnxModel` that runs apart, and whose file is opened for its first run.

    Until then only what the file says of itself is known. Closed for another model, it is opened again by its next
    run. Its errors about providers and devices come with the first run, or with `open`.
    """

    def __init__(self, path: Path, open_models: OpenModels, *, device: str = "auto", provider: str = "auto") -> None:
        self._prepare(path, device=device, provider=provider, apart=True)
        self.runs_on, self.providers = NOT_YET, ()
        self._open_models = open_models

    def open(self) -> None:
        """Open the file, if it is not open. Raises the errors of `OnnxModel`, also if the file has changed since."""
        self._open_models.use(self)  # first, so that no more than the limit are ever open
        if not self.providers:
            file = read_onnx(self.path)
            check_unchanged(file, self.metadata)
            self._open(file)

    def close(self) -> None:
        """End the process that runs the file."""
        if self.providers and isinstance(self.session, ApartSession):
            self.session.close()
            self._keeps_memory = False

    def run_network(self, *inputs: FloatImages) -> FloatImages:
        self.open()
        return super().run_network(*inputs)

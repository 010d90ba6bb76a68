"""What is written about a training while it runs: journal, sample grids, report and model card."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from torch import Tensor

from gan_tasks.datasets.errors import UserError
from gan_tasks.runs.folder import RunFolder
from gan_tasks.runs.journal import Journal
from gan_tasks.runs.model_card import write_model_card
from gan_tasks.runs.reports.report import write_report
from gan_tasks.training.config import TrainConfig
from gan_tasks.training.pace import Pace
from gan_tasks.training.position import Position
from gan_tasks.training.runtime import Runtime
from gan_tasks.training.step import Trainer
from gan_tasks.training.stopping.signals import StopSignals
from gan_tasks.training.validation import Samples, thin_samples


class TrainingLog:
    """The journal, the sample grids, the report and the model card of a run. Only the main process writes.

    Args:
        position: the progress of the run, which the training loop changes.
        meters: the losses of the steps since the last line of the journal.
    """

    def __init__(
        self,
        run: RunFolder,
        samples: Samples,
        config: TrainConfig,
        runtime: Runtime,
        position: Position,
        meters: dict[str, list[Tensor]],
    ) -> None:
        self.run, self.samples, self.config, self.runtime, self.position = run, samples, config, runtime, position
        self.meters = meters
        self.shown: dict[str, float] = {}
        """The newest losses, beside the progress."""
        self.report_pace = Pace(config.report_every_s)
        self.logged_at, self.logged_images = time.monotonic(), position.images
        self.journal: Journal | None = None
        if runtime.is_main:
            self.journal = Journal(run.journal, tensorboard_dir=run.path / "tensorboard")
            self.journal.rewind(position.journal_bytes)

    @property
    def size_bytes(self) -> int:
        """The size of the journal; 0 in other processes than the main one."""
        return self.journal.size_bytes() if self.journal else 0

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add the losses and diagnostics of a step to the means of the next line."""
        for name, value in values.items():
            self.meters.setdefault(name, []).append(value)

    def write_means(self, trainer: Trainer) -> None:
        """Write the means of the steps since the last line to the journal. Call it in every process."""
        if not self.meters:
            return
        values = self.runtime.mean(means_of(self.meters, self.runtime.device))
        self.meters = {}
        for role, optimizer in trainer.optimizers.items():
            values[f"lr/{role}"] = optimizer.param_groups[0]["lr"]
        now, images = time.monotonic(), self.position.images
        values["speed/images_per_second"] = (images - self.logged_images) / max(now - self.logged_at, 1e-9)
        values["skipped"] = self.position.skipped
        self.logged_at, self.logged_images = now, images
        self.shown = {name: values[name] for name in ("d/total", "g/total") if name in values}
        self.write(values)

    def sample(self, trainer: Trainer, signals: StopSignals) -> None:
        """Write the sample grid, and log the diversity and the colours of the outputs, once at a step.

        A signal ends it before its next image, and then nothing is written.
        """
        if self.position.sampled_step == self.position.step:
            return
        if self.runtime.is_main:
            path = self.run.samples / f"step-{self.position.step:08d}.png"
            values = self.samples.save(path, trainer.best_generators, self.runtime, signals)
            if values is None:
                return
            self.write(values)
            thin_samples(self.run.samples, self.config.sample_every_steps)
        self.position.sampled_step = self.position.step

    def draw_if_due(self, trainer: Trainer, signals: StopSignals) -> None:
        """Draw samples and report, if `report_every_s` is over."""
        if self.runtime.is_main and self.report_pace.is_due() and not signals:
            self.draw(trainer, signals)

    def draw(self, trainer: Trainer, signals: StopSignals, *, sample: bool = True) -> None:
        """Write the sample grid and the report while the training runs. The training goes on if this fails."""
        with self.report_pace.timed():
            try:
                if sample:
                    self.sample(trainer, signals)
                write_report(self.run.path, refresh_s=self.config.report_every_s)
            except (OSError, UserError) as error:
                self.runtime.say(f"the samples and the report were not drawn at step {self.position.step}: {error}")

    def write_documents(self) -> None:
        """Write the report and the model card."""
        if self.runtime.is_main:
            write_report(self.run.path)
            write_model_card(self.run.path)

    def write(self, values: dict[str, float]) -> None:
        if self.journal:
            self.journal.write(self.position.step, self.position.images, values)

    def event(self, kind: str, **details: str | float) -> None:
        if self.journal:
            self.journal.event(self.position.step, self.position.images, kind, **details)


def means_of(meters: Mapping[str, list[Tensor]], device: torch.device) -> dict[str, float]:
    """Return the mean of the scalars of each name. The CPU waits once for the GPU, not for each of them.

    Some scalars are on the CPU, such as those of the steps before a resume.
    """
    means = [
        torch.stack([number.to(device, torch.float32, non_blocking=True) for number in numbers]).mean()
        for numbers in meters.values()
    ]
    return dict(zip(meters, torch.stack(means).tolist(), strict=True))

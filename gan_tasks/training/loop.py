"""The training loop: data, stages, journal, samples, checkpoints and signals. `step.py` has the training step."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan_tasks.datasets.errors import UserError, counted
from gan_tasks.datasets.loader import make_loader
from gan_tasks.datasets.sampler import ImageStream
from gan_tasks.metrics.catalogue import metric_named
from gan_tasks.optim import lr_schedules as schedules
from gan_tasks.progress import Advance, track
from gan_tasks.runs.checkpoint import (
    DamagedCheckpointError,
    checkpoint_path,
    list_checkpoints,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)
from gan_tasks.runs.folder import RunFolder, create_run, from_json, read_run
from gan_tasks.runs.journal import Journal
from gan_tasks.runs.model_card import write_model_card
from gan_tasks.runs.report import write_report
from gan_tasks.tasks.base import BestBy, Stage, Task
from gan_tasks.training.data import DataSets, check_best_by, open_data
from gan_tasks.training.init_from import init_from_model
from gan_tasks.training.pace import Pace
from gan_tasks.training.runtime import Precision, Runtime, start_runtime
from gan_tasks.training.signals import stop_signals
from gan_tasks.training.step import Trainer, mix_seed
from gan_tasks.training.validation import Samples, SetEvaluator, evaluate_images, thin_samples

FIRST_CHECKPOINT_S = 60


@dataclass(frozen=True)
class TrainConfig:
    """Options of the training loop. They are the same for every task."""

    seed: int = 0
    """The seed of all random numbers."""
    device: str = "auto"
    """The device to train on: auto, cpu, cuda or cuda:N."""
    precision: Precision = "auto"
    """The precision of the networks' arithmetic. auto is bf16 on hardware that computes it fast, else fp32."""
    compile: bool = False
    """Compile the networks with torch.compile. The start becomes slower, and the steps on a GPU become faster."""
    workers: int = 2
    """The number of processes that read images. 0 reads them in the training process."""
    max_steps: int = 0
    """The number of steps to stop after, with a checkpoint. 0 trains to the end."""
    log_every_steps: int = 50
    """The number of steps between two lines of the journal."""
    sample_every_steps: int = 1000
    """The number of steps between two grids of sample images."""
    evaluate_every_steps: int = 1000
    """The number of steps between two evaluations on the validation images, if there are any."""
    checkpoint_every_steps: int = 1000
    """The number of steps between two checkpoints."""
    report_every_s: int = 60
    """The number of seconds between two drawings of sample images and report.html, beside --sample-every-steps. It is
    larger if drawing would take more than 5 % of the time. 0 draws the report at the end only."""
    checkpoint_every_s: int = 600
    """The number of seconds between two checkpoints, beside --checkpoint-every-steps. The first comes after a minute.
    It is larger if saving would take more than 5 % of the time. 0 saves none by time."""
    keep_checkpoints: int = 2
    """The number of newest checkpoints to keep. The best one is kept in addition."""
    hold_out: int | None = None
    """The number of images to hold out of the training, to measure it, if there is no val and no test folder. Of
    unpaired images it is that of each side. The default is a tenth, 50 at most, and none of fewer than 40. 0 holds
    out none."""
    max_evaluated_images: int = 50
    """The largest number of held-out images in an evaluation during training."""
    best_by: BestBy | None = None
    """The metric of the validation images that chooses the best checkpoint, and that --patience and --schedule
    plateau follow. The default is the task's own. kernel-distance needs the extra `features` (EfficientNet-Lite0)."""
    patience: int = 0
    """A stage ends after this number of evaluations in a row without an improvement. 0 never ends it early."""
    max_skipped_steps: int = 20
    """Training stops after this number of steps in a row with losses or gradients that are not finite."""
    quiet: bool = False
    """Do not show progress."""


class TrainingError(RuntimeError):
    """Training had to stop. The message gives the reason and the last checkpoint."""


class Interrupted(SystemExit):
    """A signal stopped the training, and a checkpoint was saved. The exit code is 128 + the signal's number."""


def train(
    task: Task[Any, Any],
    *,
    data: Path | str,
    out: Path | str,
    config: TrainConfig | None = None,
    init_from: Path | str | None = None,
) -> Path:
    """Train a task on a folder of images, and return the run folder (see runs/folder.py).

    Args:
        task: the task with its options; it need not be built.
        data: the folder of images.
        out: the run folder, which must not hold a run yet.
        config: options of the training loop.
        init_from: a model whose fitting weights initialise the generators, see `init_from_model`.

    Raises UserError for bad input, TrainingError if losses stay non-finite, and Interrupted after SIGTERM or SIGINT,
    when a checkpoint has been saved.
    """
    config = config or TrainConfig()
    source = None if init_from is None else Path(init_from).absolute()
    with start_runtime(config.device, config.precision, compile=config.compile) as runtime:
        quiet = config.quiet or not runtime.is_main
        task, data_sets = open_data(task, Path(data), config.seed, hold_out=config.hold_out, quiet=quiet)
        run = RunFolder(Path(out))
        # The constructor checks the options before the run folder is created.
        loop = Loop(task, data_sets, run, config, runtime, init_from=source)
        if runtime.is_main:
            described, names = runtime.describe(), data_sets.taken_out
            create_run(run.path, loop.task, config, Path(data), described, init_from=source, held_out=names)
        loop.run_to_end()
    return run.path


def resume(run_path: Path | str, **changes: Any) -> Path:
    """Resume a run from its newest complete checkpoint. The result equals that of an uninterrupted run bit for bit.

    `changes` replace fields of the run's TrainConfig, such as workers or max_steps. Raises as `train` does.
    """
    run = RunFolder(Path(run_path))
    task, content = read_run(run.path)
    config = replace(from_json(TrainConfig, content["train_config"]), **changes)
    with start_runtime(config.device, config.precision, compile=config.compile) as runtime:
        quiet = config.quiet or not runtime.is_main
        data, names = Path(content["data"]), content["held_out"]
        task, data_sets = open_data(task, data, config.seed, taken_out=names, quiet=quiet)
        source = None if list_checkpoints(run.checkpoints) else content.get("init_from")
        Loop(task, data_sets, run, config, runtime, init_from=source and Path(source)).run_to_end()
    return run.path


@dataclass
class Position:
    """The progress of a run. Data, schedules and random numbers depend only on it and the seed."""

    step: int = 0
    images: int = 0
    stage: int = 0
    stage_images: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    evaluated_step: int = 0
    sampled_step: int = -1
    journal_bytes: int = 0
    history: list[float] = field(default_factory=list)
    """The metric that selects the best checkpoint at every evaluation, oldest first; negated if higher is better."""


class Loop:
    """Train a run from its newest checkpoint, or from the start, to its end."""

    def __init__(
        self,
        task: Task[Any, Any],
        data: DataSets,
        run: RunFolder,
        config: TrainConfig,
        runtime: Runtime,
        *,
        init_from: Path | None = None,
    ) -> None:
        self.task, self.data, self.run, self.config, self.runtime = task, data, run, config, runtime
        self.stages = task.stages(len(data.train))
        for stage in self.stages:
            check_best_by(
                task,
                data,
                stage,
                chosen=config.best_by,
                patience=config.patience,
                evaluate_every_steps=config.evaluate_every_steps,
            )
        torch.manual_seed(mix_seed(config.seed))
        task.build(for_training=True)
        self.init_from = init_from
        self.taken = init_from_model(task, init_from) if init_from else []
        self.position = Position()
        self.meters: dict[str, list[Tensor]] = {}
        self.samples = Samples(task, data.shown)
        self.report_pace = Pace(config.report_every_s)
        self.checkpoint_pace = Pace(config.checkpoint_every_s, first_s=FIRST_CHECKPOINT_S)
        self.shown: dict[str, float] = {}
        self.logged_at, self.logged_images = time.monotonic(), 0
        self.journal: Journal | None = None
        self.set_evaluator: SetEvaluator | None = None
        if config.best_by == "kernel-distance" and data.held_out is not None and runtime.is_main:
            self.set_evaluator = SetEvaluator(task, data.held_out, limit=config.max_evaluated_images)

    def run_to_end(self) -> None:
        if self.runtime.is_main:
            self.journal = Journal(self.run.journal, tensorboard_dir=self.run.path / "tensorboard")
        self.trainer = self.restore() or self.make_trainer()
        if self.is_finished():
            self.say(f"{self.run.path} has finished its training already")
            return
        if 0 < self.config.max_steps <= self.position.step:
            steps = counted(self.position.step, "step")
            self.say(
                f"{self.run.path} has taken its {steps} already: to go on, give a larger --max-steps, or 0 for the "
                "whole training"
            )
        self.logged_images = self.position.images
        total_images = sum(stage.images for stage in self.stages)
        if not self.position.step:
            self.event("started", total_images=total_images)
        for taken in self.taken:
            self.event("initialised", source=str(self.init_from), taken=taken)
            if not self.config.quiet:
                self.say(f"from {self.init_from}: {taken}")
        quiet = self.config.quiet or not self.runtime.is_main
        with (
            self.live_report(),
            stop_signals() as signals,
            track(total_images, "Training", "images", done=self.position.images, quiet=quiet) as advance,
        ):
            while not self.is_finished() and self.run_stage(signals, advance):
                self.position.stage += 1
                self.position.stage_images = 0
                if not self.is_finished():
                    self.change_stage()
        self.finish(hurry=bool(signals))
        if signals:
            self.say(f"stopped by signal {signals[0]}: resume with `gan-tasks train --resume {self.run.path}`")
            raise Interrupted(128 + signals[0])

    @property
    def stage(self) -> Stage:
        return self.stages[min(self.position.stage, len(self.stages) - 1)]

    @property
    def best_by(self) -> BestBy | None:
        return self.config.best_by or self.stage.best_by

    def is_finished(self) -> bool:
        return self.position.stage >= len(self.stages)

    def is_out_of_patience(self) -> bool:
        return 0 < self.config.patience <= schedules.stale(self.position.history)

    def make_trainer(self) -> Trainer:
        return Trainer(self.task, self.stage, self.runtime, seed=self.config.seed)

    def change_stage(self) -> None:
        """Begin the next stage with the generators of the previous one, and keep its last checkpoint."""
        if self.runtime.is_main:
            # Mark it before it is saved: a run that is killed in between ends the stage again after it is resumed.
            self.run.end_stage(self.trainer.stage.name, checkpoint_path(self.run.checkpoints, self.position.step))
        self.task.generators.load_state_dict(self.trainer.best_generators.state_dict())
        self.position.history = []
        self.trainer = self.make_trainer()
        self.log()
        self.save()
        self.event("stage", name=self.trainer.stage.name)

    def run_stage(self, signals: list[int], advance: Advance) -> bool:
        """Train until the stage ends (returns True), or a signal or `max_steps` stops it (returns False)."""
        stage, position, config = self.trainer.stage, self.position, self.config
        batch_size = stage.optimisation.batch_size
        images_a_step = batch_size * self.runtime.world_size
        stream = ImageStream(
            dataset_size=len(self.data.train),
            batch_size=batch_size,
            seed=config.seed,
            rank=self.runtime.rank,
            world_size=self.runtime.world_size,
            start_image=position.images,
        )
        pin_memory = self.runtime.device.type == "cuda"
        for batch in make_loader(self.data.train, stream, workers=config.workers, pin_memory=pin_memory):
            if position.stage_images >= stage.images:
                return True
            if self.is_out_of_patience():
                self.event("stopped-early", evaluations=len(position.history), patience=config.patience)
                return True
            if self.runtime.any(bool(signals)) or (config.max_steps and position.step >= config.max_steps):
                return False
            epoch = position.stage_images // len(self.data.train) + 1
            values = self.trainer.step(
                batch,
                index=position.step,
                lr_factor=schedules.factor(stage.schedule, epoch, position.history),
                stage_images=position.stage_images,
            )
            position.step += 1
            position.images += images_a_step
            position.stage_images += images_a_step
            self.count(values)
            advance(images_a_step, **self.shown)
            self.run_periodic_actions(stage, epoch)
        raise AssertionError("the stream of images has no end")

    def count(self, values: dict[str, Tensor]) -> None:
        """Add the losses and diagnostics of a step to the means for the next line of the journal."""
        position = self.position
        skipped = bool(values.pop("skipped"))
        position.skipped += skipped
        position.skipped_in_a_row = position.skipped_in_a_row + 1 if skipped else 0
        if skipped:
            self.event("skipped-step", reason="losses or gradients that are not finite")
        else:
            for name, value in values.items():
                self.meters.setdefault(name, []).append(value)
        if position.skipped_in_a_row >= self.config.max_skipped_steps:
            newest = list_checkpoints(self.run.checkpoints)[-1:]
            kept = f"the last good checkpoint is {newest[0]}" if newest else "there is no checkpoint yet"
            raise TrainingError(
                f"{counted(position.skipped_in_a_row, 'step')} in a row had losses or gradients that are not finite: "
                f"training stopped at step {position.step}; {kept}. Try a lower --lr or --precision fp32"
            )

    def run_periodic_actions(self, stage: Stage, epoch: int) -> None:
        position, config = self.position, self.config

        def due(every_steps: int) -> bool:
            return every_steps > 0 and position.step % every_steps == 0

        # The first lines come early, at steps 1, 2, 4, 8 …: the user of a slow machine need not wait for them.
        is_early = position.step < config.log_every_steps and position.step.bit_count() == 1
        if due(config.log_every_steps) or is_early:
            self.log()
        if due(config.sample_every_steps):
            self.sample()
        if self.runtime.is_main and self.report_pace.is_due():
            self.draw()
        if stage.schedule.schedule == "plateau":
            evaluate = position.stage_images // len(self.data.train) + 1 > epoch
        else:
            evaluate = due(config.evaluate_every_steps)
        is_best = evaluate and self.evaluate()
        # The clock of rank 0 decides for all ranks, because all take part in saving.
        is_time = self.runtime.any(self.runtime.is_main and self.checkpoint_pace.is_due())
        if is_best or is_time or due(config.checkpoint_every_steps):
            self.save(is_best=is_best)

    def log(self) -> None:
        """Write the means of the steps since the last line to the journal."""
        if not self.meters:
            return
        values = {name: mean_of(numbers) for name, numbers in self.meters.items()}
        values = self.runtime.mean(values)
        self.meters = {}
        for role, optimizer in self.trainer.optimizers.items():
            values[f"lr/{role}"] = optimizer.param_groups[0]["lr"]
        now, images = time.monotonic(), self.position.images
        values["speed/images_per_second"] = (images - self.logged_images) / max(now - self.logged_at, 1e-9)
        values["skipped"] = self.position.skipped
        self.logged_at, self.logged_images = now, images
        self.shown = {name: values[name] for name in ("d/total", "g/total") if name in values}
        self.write(values)

    def sample(self) -> None:
        """Write the sample grid, and log the diversity and the colours of the outputs, once at a step."""
        if self.position.sampled_step == self.position.step:
            return
        self.position.sampled_step = self.position.step
        if self.runtime.is_main:
            path = self.run.samples / f"step-{self.position.step:08d}.png"
            self.write(self.samples.save(path, self.trainer.best_generators, self.runtime))
            thin_samples(self.run.samples, self.config.sample_every_steps)

    def draw(self, *, sample: bool = True) -> None:
        """Write the sample grid and the report while the training runs. The training goes on if this fails."""
        with self.report_pace.timed():
            try:
                if sample:
                    self.sample()
                write_report(self.run.path, refresh_s=self.config.report_every_s)
            except (OSError, UserError) as error:
                self.say(f"the samples and the report were not drawn at step {self.position.step}: {error}")

    @contextmanager
    def live_report(self) -> Iterator[None]:
        """Draw the report before the first step, of untrained networks, and once more where the training fails."""
        if self.runtime.is_main and self.config.report_every_s:
            self.draw(sample=not self.position.step)  # a resumed run samples where an uninterrupted one does
        try:
            yield
        except Exception:
            if self.runtime.is_main:
                with suppress(OSError, UserError):
                    write_report(self.run.path)
            raise

    def evaluate(self) -> bool:
        """Evaluate on held-out images. Returns whether this is the best evaluation so far."""
        if self.data.held_out is None or self.best_by is None:
            return False
        metrics: dict[str, float] = {}
        if self.runtime.is_main:
            limit = self.config.max_evaluated_images
            generators = self.trainer.best_generators
            metrics = evaluate_images(
                self.task,
                generators,
                self.data.held_out,
                limit=limit,
                runtime=self.runtime,
                set_evaluator=self.set_evaluator,
            )
            self.write({f"val/{name}": value for name, value in metrics.items()})
        metric = metric_named(self.best_by.replace("-", "_"))
        value: float = self.runtime.gather(metrics)[0][metric.key]
        self.position.history = [*self.position.history, value if metric.lower_is_better else -value]
        self.position.evaluated_step = self.position.step
        is_best = schedules.stale(self.position.history) == 0
        if is_best:
            self.event("best", metric=self.best_by, value=value)
        return is_best

    def save(self, *, is_best: bool = False) -> None:
        """Save a checkpoint. It writes nothing to the journal, because the time decides about some checkpoints."""
        with self.checkpoint_pace.timed():
            parts = self.trainer.parts()
            # The steps since the last line of the journal: the next line of a resumed run has their means, too.
            meters = self.runtime.gather({name: [float(x) for x in values] for name, values in self.meters.items()})
            if self.journal:
                self.position.journal_bytes = self.journal.size_bytes()
            if self.runtime.is_main:
                state = {"position": asdict(self.position), "meters": meters}
                checkpoint = save_checkpoint(self.run.checkpoints, self.position.step, parts, state)
                if is_best:
                    self.run.set_best(checkpoint)
                prune_checkpoints(self.run.checkpoints, keep=self.config.keep_checkpoints, spare=self.run.kept())
            self.runtime.barrier()

    def finish(self, *, hurry: bool) -> None:
        """Do the last evaluation, sample grid, checkpoint and report; with `hurry` only checkpoint and report."""
        is_evaluated = self.position.evaluated_step == self.position.step
        is_best = self.is_finished() and not is_evaluated and self.evaluate()
        if not hurry:
            self.sample()
            self.log()
        self.save(is_best=is_best)
        if self.runtime.is_main:
            write_report(self.run.path)
            write_model_card(self.run.path)

    def restore(self) -> Trainer | None:
        """Load trainer and position from the newest complete checkpoint. Returns None if there is no checkpoint."""
        damage: DamagedCheckpointError | None = None
        trainer = None
        for checkpoint in reversed(list_checkpoints(self.run.checkpoints)):
            try:
                parts, state = load_checkpoint(checkpoint)
            except DamagedCheckpointError as error:
                damage = error
                self.say(f"{error}: resuming from the checkpoint before it")
                continue
            self.position = Position(**state["position"])
            if len(state["meters"]) == self.runtime.world_size:
                meters = state["meters"][self.runtime.rank]
                self.meters = {name: [torch.tensor(x) for x in values] for name, values in meters.items()}
            trainer = self.make_trainer()
            trainer.load_parts(parts)
            break
        if trainer is None and damage is not None:
            raise damage
        if self.journal:
            self.journal.rewind(self.position.journal_bytes)
        if trainer:
            self.event("resumed", checkpoint=checkpoint.name)
        return trainer

    def write(self, values: dict[str, float]) -> None:
        if self.journal:
            self.journal.write(self.position.step, self.position.images, values)

    def event(self, kind: str, **details: str | float) -> None:
        if self.journal:
            self.journal.event(self.position.step, self.position.images, kind, **details)

    def say(self, message: str) -> None:
        if self.runtime.is_main:
            print(message, file=sys.stderr)


def mean_of(numbers: list[Tensor]) -> float:
    """Return the mean of scalars. Those of the steps before a resume are on the CPU."""
    device = numbers[-1].device
    return float(torch.stack([number.float().to(device) for number in numbers]).mean())

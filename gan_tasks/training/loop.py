"""The training loop: data, stages, evaluation, checkpoints and signals. `step.py` has the training step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from gan_tasks.datasets.errors import UserError, counted
from gan_tasks.datasets.loading.loader import load_batches
from gan_tasks.datasets.loading.sampler import ImageStream
from gan_tasks.metrics.catalogue import metric_named
from gan_tasks.optim import lr_schedules as schedules
from gan_tasks.progress import Advance, track
from gan_tasks.runs.checkpoint import (
    CheckpointError,
    checkpoint_path,
    load_checkpoint,
    save_checkpoint,
)
from gan_tasks.runs.checkpoint_choice import load_first, newest_good, prune_checkpoints
from gan_tasks.runs.folder import RunFolder, checked, create_run, from_json, read_run, read_spec, with_trained_with
from gan_tasks.tasks.base import BestBy, Stage, Task
from gan_tasks.tasks.shared.size_limit import build_networks
from gan_tasks.training.config import TrainConfig
from gan_tasks.training.data import DataSets, check_best_by, open_data
from gan_tasks.training.init_from import init_from_model, trained_with_of
from gan_tasks.training.log import TrainingLog
from gan_tasks.training.pace import Pace
from gan_tasks.training.position import Position, position_of
from gan_tasks.training.runtime import Runtime, start_runtime
from gan_tasks.training.step import Trainer, mix_seed
from gan_tasks.training.stopping.failures import in_words, state_text
from gan_tasks.training.stopping.lock import locked
from gan_tasks.training.stopping.resuming import RunOptions, check_resumption, with_changes
from gan_tasks.training.stopping.signals import CutShortError, StopSignals, ends_at_once, stop_signals
from gan_tasks.training.validation import Samples, SetEvaluator, evaluate_images

FIRST_CHECKPOINT_S = 60


class TrainingError(RuntimeError):
    """Training had to stop. The message gives the reason and the last checkpoint."""


class Interrupted(SystemExit):
    """A signal stopped the training, and its state is saved. The exit code is 128 + the signal's number."""


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

    Raises UserError for bad input, StoppedError after an error such as a missing file or a full disk, TrainingError
    if losses stay non-finite, and Interrupted after SIGTERM, SIGINT or SIGHUP, when the state has been saved. Before
    the end of the first step there is nothing to save: it raises Interrupted, SystemExit or KeyboardInterrupt.
    """
    config = config or TrainConfig()
    source = None if init_from is None else Path(init_from).absolute()
    with ends_at_once(), started(config) as runtime:
        quiet = config.quiet or not runtime.is_main
        task, data_sets = open_data(task, Path(data), config.seed, hold_out=config.hold_out, quiet=quiet)
        run = RunFolder(Path(out))
        # The constructor checks the options before the run folder is created.
        loop = Loop(task, data_sets, run, config, runtime, init_from=source)
        with locked(run.path) if runtime.is_main else nullcontext():
            if runtime.is_main:
                described, names = runtime.describe(), data_sets.taken_out
                create_run(
                    run.path,
                    loop.task,
                    config,
                    Path(data),
                    described,
                    init_from=source,
                    trained_with=loop.trained_with,
                    held_out=names,
                )
            loop.open()
            loop.run_to_end()
    return run.path


def resume(run_path: Path | str, **changes: Any) -> Path:
    """Resume a run from its newest complete checkpoint. The result equals that of an uninterrupted run bit for bit.

    `changes` replace options of the run, now and for later times: fields of TrainConfig such as workers or max_steps,
    numbers of epochs, and paths that have moved, such as data or masks; see stopping/resuming.py. If files of the
    data were added, removed or changed since the run began, a message says so, and the training goes on with them.

    Raises as `train` does, and UserError for an option that cannot change.
    """
    run = RunFolder(Path(run_path))
    task, content = read_run(run.path)
    init_from = content["init_from"] and Path(content["init_from"])
    before = RunOptions(task, from_json(TrainConfig, content["train_config"]), Path(content["data"]), init_from)
    now = with_changes(run.path, before, changes)
    config: TrainConfig = now.config
    with ends_at_once(), started(config) as runtime, locked(run.path) if runtime.is_main else nullcontext():
        resumption = check_resumption(run, before, now, say=runtime.is_main)
        quiet, names = config.quiet or not runtime.is_main, content["held_out"]
        task, data_sets = open_data(now.task, now.data, config.seed, taken_out=names, quiet=quiet)
        trained_with = read_spec(run.path).trained_with
        loop = Loop(task, data_sets, run, config, runtime, init_from=resumption.init_from, trained_with=trained_with)
        loop.open()
        resumption.check_stages(loop.stages, loop.position, len(data_sets.train), say=runtime.is_main)
        if runtime.is_main and (described := resumption.described()):
            loop.log.event("changed", total_images=loop.total_images, **described)
            resumption.write(content)
        loop.run_to_end()
    return run.path


def started(config: TrainConfig) -> AbstractContextManager[Runtime]:
    return start_runtime(config.device, config.precision, compile=config.compile, recompute=config.recompute)


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
        trained_with: tuple[str, ...] = (),
    ) -> None:
        """trained_with: the pretrained networks that the run has been trained with so far."""
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
        build_networks(task, for_training=True)
        self.init_from = init_from
        self.taken = init_from_model(task, init_from) if init_from else []
        of_source = trained_with_of(init_from) if init_from else ()
        self.trained_with = with_trained_with(task.spec(), (*trained_with, *of_source)).trained_with
        self.position = Position()
        self.signals = StopSignals()
        self.checkpoint_pace = Pace(config.checkpoint_every_s, first_s=FIRST_CHECKPOINT_S)
        self.all_ranks_stop = False
        """Whether all ranks have left the training at the same step, so that they can save together."""
        self.set_evaluator: SetEvaluator | None = None
        if config.best_by == "kernel-distance" and data.held_out is not None and runtime.is_main:
            limit = config.max_evaluated_images
            self.set_evaluator = SetEvaluator(task, data.held_out, trained_with=self.trained_with, limit=limit)
            if self.trained_with and not config.quiet:
                runtime.say(f"the kernel distance is computed by {self.set_evaluator.network.name}")

    def open(self) -> None:
        """Open the journal, and restore the newest good checkpoint if there is one."""
        found = load_first(self.run.checkpoints, load_checkpoint, self.runtime.say)
        meters: dict[str, list[Tensor]] = {}
        if found:
            checkpoint, (parts, state) = found
            self.position = position_of(state, checkpoint, len(self.stages))
            meters = meters_of(state, checkpoint, self.runtime)
        self.opened_step = self.position.step
        self.trainer = self.make_trainer()
        if found:
            self.trainer.load_parts(parts, checkpoint)
        samples = Samples(self.task, self.data.shown)
        self.log = TrainingLog(self.run, samples, self.config, self.runtime, self.position, meters)
        if found:
            self.log.event("resumed", checkpoint=checkpoint.name)

    def run_to_end(self) -> None:
        """Train to the end. Raises StoppedError, TrainingError and Interrupted as `train` does."""
        position, config = self.position, self.config
        if 0 < config.max_steps <= position.step and not self.is_finished():
            self.runtime.say(
                f"{self.run.path} has taken its {counted(position.step, 'step')} already: to go on, give a larger "
                "--max-steps, or 0 for the whole training"
            )
        if not position.step:
            self.log.event("started", total_images=self.total_images)
        for taken in self.taken:
            self.log.event("initialised", source=str(self.init_from), taken=taken)
            if not config.quiet:
                self.runtime.say(f"from {self.init_from}: {taken}")
        with stop_signals() as self.signals:
            try:
                self.run_stages()
                self.finish(hurry=self.runtime.any(bool(self.signals)))
            except CutShortError:  # in the first step: the newest checkpoint holds everything
                pass
            except TrainingError:
                with suppress(OSError, UserError):
                    self.log.write_documents()
                raise
            except Exception as error:
                self.stop_after(error)
        if self.signals:
            number = self.signals.caught[0]
            self.runtime.say(f"stopped by signal {number}: resume with `gan-tasks train --resume {self.run.path}`")
            raise Interrupted(128 + number)

    def run_stages(self) -> None:
        """Train until the last stage ends, or a signal or `max_steps` stops it."""
        if self.is_finished():
            self.runtime.say(f"{self.run.path} has finished its training: to go on, give a larger --epochs")
            return
        if self.runtime.is_main and self.config.report_every_s:
            # A resumed run samples where an uninterrupted one does.
            self.log.draw(self.trainer, self.signals, sample=not self.position.step)
        quiet = self.config.quiet or not self.runtime.is_main
        with track(self.total_images, "Training", "images", done=self.position.images, quiet=quiet) as advance:
            while self.run_stage(advance) and not self.is_last_stage():
                self.change_stage()

    def stop_after(self, error: Exception) -> NoReturn:
        """Save the state, if it is that after a whole step, and raise StoppedError; a bug is raised as it is."""
        # Without an agreement the other ranks wait in another call: they cannot take part in saving.
        if self.trainer.is_whole and (self.runtime.world_size == 1 or self.all_ranks_stop):
            with suppress(Exception):
                self.save()
        with suppress(Exception):
            self.log.write_documents()
        stopped = in_words(error, self.run, self.position.step)
        if stopped is None:
            self.runtime.say(state_text(self.run, self.position.step))
            raise error
        raise stopped from error

    @property
    def stage(self) -> Stage:
        return self.stages[self.position.stage]

    @property
    def total_images(self) -> int:
        """Training images of all stages."""
        return sum(stage.images for stage in self.stages)

    @property
    def images_a_step(self) -> int:
        """Training images of a step, on all ranks."""
        return self.stage.optimisation.batch_size * self.runtime.world_size

    def epoch(self, stage_images: int) -> int:
        """Return the epoch, from 1, that follows this number of images of the stage."""
        return stage_images // len(self.data.train) + 1

    @property
    def best_by(self) -> BestBy | None:
        return self.config.best_by or self.stage.best_by

    def is_last_stage(self) -> bool:
        return self.position.stage == len(self.stages) - 1

    def is_stage_over(self) -> bool:
        return self.position.stage_images >= self.stage.images or self.is_out_of_patience()

    def is_finished(self) -> bool:
        """Whether the training has come to its end, with these options: with more epochs it may go on."""
        return self.is_last_stage() and self.is_stage_over() and self.position.acted_step == self.position.step

    def is_out_of_patience(self) -> bool:
        return 0 < self.config.patience <= schedules.stale(self.position.history)

    def make_trainer(self) -> Trainer:
        return Trainer(self.task, self.stage, self.runtime, seed=self.config.seed)

    def change_stage(self) -> None:
        """Begin the next stage, see `Stage`, and keep the last checkpoint of this one."""
        self.log.write_means(self.trainer)
        if self.runtime.is_main:
            # Mark it before it is saved: a run that is killed in between ends the stage again after it is resumed.
            self.run.end_stage(self.trainer.stage.name, checkpoint_path(self.run.checkpoints, self.position.step))
        self.trainer.is_whole = False
        best = self.trainer.best_generators
        self.position.stage += 1
        self.position.stage_images = 0
        self.position.history = []
        if not self.stage.continues:
            self.task.generators.load_state_dict(best.state_dict())
        self.trainer = self.make_trainer()
        if self.stage.continues and self.trainer.average is not None:
            self.trainer.average.load_state_dict(best.state_dict())
        self.save()
        self.log.event("stage", name=self.trainer.stage.name)

    def run_stage(self, advance: Advance) -> bool:
        """Train until the stage ends (returns True), or a signal or `max_steps` stops it (returns False)."""
        stage, position, config = self.trainer.stage, self.position, self.config
        stream = ImageStream(
            dataset_size=len(self.data.train),
            batch_size=stage.optimisation.batch_size,
            seed=config.seed,
            rank=self.runtime.rank,
            world_size=self.runtime.world_size,
            start_image=position.images,
        )
        pin_memory = self.runtime.device.type == "cuda"
        loaded = load_batches(self.data.train, stream, workers=config.workers, pin_memory=pin_memory)
        with closing(loaded):
            batches = self.runtime.on_device(loaded)
            while self.run_periodic_actions():
                if self.is_stage_over():
                    return True
                if config.max_steps and position.step >= config.max_steps:
                    return False
                batch, error = self.next_or_error(batches)
                if self.runtime.any(bool(self.signals) or error is not None):
                    self.all_ranks_stop = True
                    for each in self.runtime.gather(error):
                        if each is not None:
                            raise each
                    return False
                self.take_step(batch, advance)
        self.all_ranks_stop = True
        return False

    def next_or_error(self, batches: Iterator[Any]) -> tuple[Any, Exception | None]:
        """Return the next batch, or the error in its place; neither if a signal ended the wait for it."""
        try:
            with self.signals.cutting_short():
                return next(batches), None
        except CutShortError:
            return None, None
        except Exception as error:
            return None, error

    def take_step(self, batch: Any, advance: Advance) -> None:
        stage, position = self.trainer.stage, self.position
        # The first step may compile for minutes. Several processes leave a step together only.
        can_end = position.step == self.opened_step and self.runtime.world_size == 1
        with self.signals.cutting_short(when=can_end):
            values = self.trainer.step(
                batch,
                index=position.step,
                lr_factor=schedules.factor(stage.schedule, self.epoch(position.stage_images), position.history),
                stage_images=position.stage_images,
            )
        position.step += 1
        position.images += self.images_a_step
        position.stage_images += self.images_a_step
        self.count(values)
        advance(self.images_a_step, **self.log.shown)

    def count(self, values: dict[str, Tensor]) -> None:
        """Add the losses and diagnostics of a step to the means for the next line of the journal."""
        position = self.position
        skipped = bool(values.pop("skipped"))
        position.skipped += skipped
        position.skipped_in_a_row = position.skipped_in_a_row + 1 if skipped else 0
        if skipped:
            self.log.event("skipped-step", reason="losses or gradients that are not finite")
        else:
            self.log.add(values)
        if position.skipped_in_a_row >= self.config.max_skipped_steps:
            good = newest_good(self.run.checkpoints)
            kept = f"the last good checkpoint is {good}" if good else "there is no good checkpoint yet"
            raise TrainingError(
                f"{counted(position.skipped_in_a_row, 'step')} in a row had losses or gradients that are not finite: "
                f"training stopped at step {position.step}; {kept}. Try a lower --lr or --precision fp32"
            )

    def run_periodic_actions(self) -> bool:
        """Log, sample, evaluate and save, as far as they are due. Does nothing twice at a step.

        Returns False if a signal came: then the state is still to be saved, and what was not done is done after a
        resume.
        """
        position, config, stage, log = self.position, self.config, self.trainer.stage, self.log
        if position.acted_step == position.step:
            return True

        def due(every_steps: int) -> bool:
            return every_steps > 0 and position.step % every_steps == 0

        # The first lines come early, at steps 1, 2, 4, 8 …: the user of a slow machine need not wait for them.
        is_early = position.step < config.log_every_steps and position.step.bit_count() == 1
        if due(config.log_every_steps) or is_early:
            log.write_means(self.trainer)
        if due(config.sample_every_steps):
            log.sample(self.trainer, self.signals)
        log.draw_if_due(self.trainer, self.signals)
        if stage.schedule.schedule == "plateau":
            images = position.stage_images
            evaluate = self.epoch(images) > self.epoch(images - self.images_a_step)
        else:
            evaluate = due(config.evaluate_every_steps)
        is_best = evaluate and self.evaluate()
        # The clock of rank 0 decides for all ranks, because all take part in saving.
        is_time = self.runtime.is_main and self.checkpoint_pace.is_due()
        is_stopped, is_time = self.runtime.any_of(bool(self.signals), is_time)
        if is_stopped:
            return False
        if is_best or is_time or due(config.checkpoint_every_steps):
            self.save(is_best=is_best, acted=True)
        position.acted_step = position.step
        return True

    def evaluate(self) -> bool:
        """Evaluate on held-out images. Returns whether this is the best evaluation so far.

        A signal ends it before its next image, and then the step stays without an evaluation.
        """
        if self.data.held_out is None or self.best_by is None:
            return False
        if self.position.evaluated_step == self.position.step:
            return schedules.stale(self.position.history) == 0
        metrics: dict[str, float] | None = {}
        if self.runtime.is_main:
            metrics = evaluate_images(
                self.task,
                self.trainer.best_generators,
                self.data.held_out,
                limit=self.config.max_evaluated_images,
                runtime=self.runtime,
                set_evaluator=self.set_evaluator,
                signals=self.signals,
            )
        metrics = self.runtime.gather(metrics)[0]
        if metrics is None:
            return False
        self.log.write({f"val/{name}": value for name, value in metrics.items()})
        metric = metric_named(self.best_by.replace("-", "_"))
        value = metrics[metric.key]
        self.position.history = [*self.position.history, value if metric.lower_is_better else -value]
        self.position.evaluated_step = self.position.step
        is_best = schedules.stale(self.position.history) == 0
        if is_best:
            self.log.event("best", metric=self.best_by, value=value)
        if self.is_out_of_patience() and self.position.stage_images < self.stage.images:
            self.log.event("stopped-early", evaluations=len(self.position.history), patience=self.config.patience)
        return is_best

    def save(self, *, is_best: bool = False, acted: bool = False) -> None:
        """Save a checkpoint. It writes nothing to the journal, because the time decides about some checkpoints.

        acted: it is the last of what is due at this step, and nothing is to be done after a resume.
        """
        with self.checkpoint_pace.timed():
            parts = self.trainer.parts()
            # The steps since the last line of the journal: the next line of a resumed run has their means, too.
            meters = self.runtime.gather(
                {name: [float(x) for x in values] for name, values in self.log.meters.items()}
            )
            self.position.journal_bytes = self.log.size_bytes
            if self.runtime.is_main:
                state = {**self.position.state(acted=acted), "meters": meters}
                good = not self.position.skipped_in_a_row and self.trainer.is_well()
                checkpoint = save_checkpoint(self.run.checkpoints, self.position.step, parts, state, good=good)
                if is_best:
                    self.run.set_best(checkpoint)
                keep, spare = self.config.keep_checkpoints, self.run.kept()
                prune_checkpoints(self.run.checkpoints, checkpoint, keep=keep, spare=spare)
            self.runtime.barrier()

    def finish(self, *, hurry: bool) -> None:
        """Do the last evaluation, sample grid, checkpoint and report; with `hurry` only checkpoint and report."""
        self.save()  # first of all, because the evaluation may take longer than a machine waits before it kills
        finished = self.is_finished()
        is_best = finished and self.evaluate()
        if not hurry:
            self.log.sample(self.trainer, self.signals)
            self.log.write_means(self.trainer)
        if finished or not hurry:
            self.save(is_best=is_best)
        self.log.write_documents()


def meters_of(state: Mapping[str, Any], checkpoint: Path, runtime: Runtime) -> dict[str, list[Tensor]]:
    """Return the losses since the last line of the journal; none if the run had another number of processes."""
    try:
        meters = checked(list[dict[str, list[float]]], state.get("meters"))
    except UserError as error:
        raise CheckpointError(f"checkpoint {checkpoint}: state.json does not hold meters ({error})") from error
    mine = meters[runtime.rank] if len(meters) == runtime.world_size else {}
    return {name: [torch.tensor(value) for value in values] for name, values in mine.items() if values}

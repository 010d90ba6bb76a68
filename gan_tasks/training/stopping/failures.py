"""Errors that stop a training, in words for the user: what happened, from where it goes on, and what to do."""

from __future__ import annotations

import errno

from gan_tasks.datasets.errors import UserError, is_out_of_memory
from gan_tasks.datasets.images import ImageError
from gan_tasks.datasets.loading.loader import WorkerError
from gan_tasks.runs.checkpoint import checkpoint_path, list_checkpoints
from gan_tasks.runs.checkpoint_choice import newest_good
from gan_tasks.runs.folder import RunFolder


class StoppedError(UserError):
    """An error stopped the training. The message says what happened, from where it goes on, and what to do."""


def state_text(run: RunFolder, step: int) -> str:
    """Say where the training stopped, and from which checkpoint it goes on."""
    newest = newest_good(run.checkpoints) or next(iter(list_checkpoints(run.checkpoints)[::-1]), None)
    if newest == checkpoint_path(run.checkpoints, step):
        return f"the training stopped at step {step}, and its state is saved"
    goes_on = f"goes on from {newest.name}" if newest else "has no checkpoint yet and starts again"
    return f"the training stopped at step {step}, and {goes_on}"


def in_words(error: Exception, run: RunFolder, step: int) -> StoppedError | None:
    """Return the error that the user sees. None for an error that only a bug of the program can cause."""
    found = what_and_advice(error)
    if found is None:
        return None
    if not run.config.is_file():
        return StoppedError(
            f"the run folder {run.path} was moved or deleted: the training stopped at step {step}. If it was moved, "
            "resume it in its new place with `gan-tasks train --resume NEW`"
        )
    what, advice = found
    command = f"gan-tasks train --resume {run.path}{' --workers 0' if isinstance(error, WorkerError) else ''}"
    return StoppedError(f"{what}: {state_text(run, step)}; {advice}resume with `{command}`")


def what_and_advice(error: Exception) -> tuple[str, str] | None:
    """Return what happened, and what to do before the run is resumed, as the beginning of a sentence."""
    match error:
        case ImageError():
            return str(error), "restore the file, or remove it and what is paired with it, and "
        case UserError():
            return str(error), ""
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return f"the disk is full{named(error)}", "free some space and "
        case OSError() if error.errno != errno.ENOMEM:
            return f"{error.strerror or error}{named(error)}", "put this right and "
    if is_out_of_memory(error):
        return (
            "the memory does not suffice",
            "start a new run with a lower --batch-size or --crop-size, or free some memory and ",
        )
    return None


def named(error: OSError) -> str:
    return f" ({error.filename})" if error.filename else ""

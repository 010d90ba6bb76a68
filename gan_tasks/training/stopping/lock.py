"""One process at a time trains in a run folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gan_tasks.datasets.errors import UserError
from gan_tasks.runs.links import refuse_links


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Lock the run folder, which is made if it is not there, within the context.

    The system releases the lock of a process that dies. Forked processes, such as those that load images, do not
    inherit it. File systems without locks, and Windows, run unlocked.

    Raises UserError if the folder cannot be written to, if another process holds the lock, or as `refuse_links` does.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        refuse_links(run)
        opened = (run / "lock").open("a")
    except OSError as error:
        raise UserError(
            f"{run} cannot be written to ({error.strerror or error}), and it gets the results of the training: "
            "make it a folder that you may write to, or give another --out"
        ) from error
    with opened as file:
        try:
            import fcntl
        except ImportError:  # Windows
            yield
            return
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise UserError(
                f"another process trains in {run}: wait for its end, stop it, or give another --out"
            ) from error
        except OSError:
            pass
        yield

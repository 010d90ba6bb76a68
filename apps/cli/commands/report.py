"""`gan-tasks report`: draw the page of a run from its journal, or one page about several runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gan_tasks.apps.cli.arguments import Command
from gan_tasks.apps.cli.console import OK, say
from gan_tasks.apps.cli.options import Positional
from gan_tasks.datasets.errors import UserError


@dataclass(frozen=True)
class Report(Command):
    """Draw the report of a run, also while it is training, or a page that compares the curves of several runs."""

    runs: Positional[tuple[Path, ...]]
    """One run folder, or several to compare."""
    out: Path | None = None
    """The file to write. The default is report.html in the run folder, or for several runs runs.html in the current
    folder."""

    def run(self) -> int:
        from gan_tasks.runs.reports.comparison import write_comparison
        from gan_tasks.runs.reports.report import write_report

        if self.out is not None:
            if self.out.is_dir():
                raise UserError(f"{self.out} is a folder: --out takes a file, such as {self.out}/runs.html")
            self.out.parent.mkdir(parents=True, exist_ok=True)
        several = len(self.runs) > 1
        page = (
            write_comparison(self.runs, self.out or Path("runs.html"))
            if several
            else write_report(self.runs[0], out=self.out)
        )
        say(f"the report: {page}")
        return OK

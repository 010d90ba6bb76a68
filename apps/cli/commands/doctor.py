"""`gan-tasks doctor`: report on this machine, and measure a model on it (--bench)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from gan_tasks.apps.cli.arguments import Command
from gan_tasks.apps.cli.console import FAILED, OK
from gan_tasks.datasets.ranges import Checked, Range

if TYPE_CHECKING:
    from gan_tasks.apps.cli.machine import Report
    from gan_tasks.export.onnx.benchmark import Bench
    from gan_tasks.export.onnx.providers import Configuration


@dataclass(frozen=True)
class Doctor(Checked, Command):
    """Report the versions, devices and runtimes of this machine, and problems of the installation."""

    bench: Path | None = None
    """An .onnx file to measure with every runtime that is installed, or the name of a model of gan-tasks-models. The
    fastest one is cached, and used from then on."""
    size: Annotated[int, Range(8, 8192)] = 256
    """The height and width in pixels of the image for --bench."""
    provider: str = "auto"
    """The only runtime that --bench measures beside the CPU, by its name in the list that this command prints."""
    json: bool = False
    """Print the report as JSON."""

    def run(self) -> int:
        import json

        from gan_tasks.apps.cli.machine import doctor

        if self.bench is not None:
            bench_model(self.bench, size=self.size, provider=self.provider, as_json=self.json)
            return OK
        report = doctor()
        if self.json:
            print(json.dumps(asdict(report), indent=1))
        else:
            print_doctor(report)
        return FAILED if report.problems else OK


def print_doctor(report: Report) -> None:
    """Print the report, problems last."""
    from rich.console import Console
    from rich.markup import escape

    from gan_tasks.apps.cli.tables import table_of_machine

    console = Console()
    console.print(table_of_machine(report))
    for problem in report.problems:
        console.print(f"\n[bold red]Problem:[/] {escape(problem)}", soft_wrap=True)
    if not report.problems:
        console.print("\n[green]No problems found.[/]")


def bench_model(path: Path, *, size: int, provider: str, as_json: bool) -> None:
    """Measure a model, print the results and cache the fastest runtime.

    Raises UserError for what is no exported model, and for a runtime that is not installed.
    """
    import json

    from gan_tasks.export.onnx.benchmark import bench
    from gan_tasks.export.onnx.file import read_onnx
    from gan_tasks.export.onnx.provider_cache import write_cached
    from gan_tasks.pretrained.shipped import onnx_file

    file = read_onnx(onnx_file(path))
    measured = bench(file, size=size, tried=to_try(provider))
    where = write_cached(file, measured.chosen.configuration)
    if as_json:
        print(json.dumps(to_json(measured) | {"cached_in": str(where)}, indent=1))
    else:
        print_bench(measured, where)


def to_try(provider: str) -> tuple[Configuration, ...]:
    """Every configuration, or the CPU and the given provider. Raises UserError for a provider that is not there."""
    from gan_tasks.export.onnx.providers import (
        CPU,
        Configuration,
        configurations,
        core_count,
        find_provider,
        require,
    )

    if provider == "auto":
        return configurations()
    asked_for = find_provider(provider)
    require(asked_for)
    rest = () if asked_for == CPU else (Configuration(asked_for, core_count()),)
    return (Configuration(CPU, core_count()), *rest)


def print_bench(result: Bench, where: Path) -> None:
    from rich.console import Console
    from rich.markup import escape

    from gan_tasks.apps.cli.tables import table_of_bench
    from gan_tasks.export.onnx.benchmark import MIN_FIDELITY_DB
    from gan_tasks.export.onnx.providers import PROVIDERS, missing

    console = Console()
    console.print(table_of_bench(result, console.width))
    for one in result.measured:
        if one.problem:
            console.print(f"not measured: {one.configuration}; {escape(one.problem)}", soft_wrap=True)
    for provider in PROVIDERS:
        if (reason := missing(provider)) is not None:
            console.print(f"not tried: {provider.name}; {escape(reason)}", soft_wrap=True)
    rounds = len(result.measured[0].latencies_s)
    print(
        f"Medians of {rounds} rounds, in each of which every runtime has one turn. A runtime under "
        f"{MIN_FIDELITY_DB:.0f} dB is not chosen."
    )
    print(f"{result.chosen.configuration} is cached for this model, in {where}")


def to_json(result: Bench) -> dict[str, Any]:
    """The results for JSON, which has no infinity: the fidelity of an identical output is null."""
    import math

    from gan_tasks.export.onnx.benchmark import speed_up

    rows = [
        {"provider": one.configuration.provider.name, "threads": one.configuration.threads, "problem": one.problem}
        if one.problem
        else {
            "provider": one.configuration.provider.name,
            "precision": one.configuration.provider.precision,
            "threads": one.configuration.threads,
            "load_s": one.load_s,
            "median_s": one.latency_s,
            "speed_up": speed_up(result.measured[0], one),
            "fidelity_db": one.fidelity_db if math.isfinite(one.fidelity_db) else None,
            "chosen": one == result.chosen,
        }
        for one in result.measured
    ]
    return {"size": result.size, "measured": rows}

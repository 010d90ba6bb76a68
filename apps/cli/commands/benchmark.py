"""`gan-tasks doctor --bench`: what runs a model best on this machine, as a table, and remembered."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gan_tasks.export.onnx.benchmark import MIN_FIDELITY_DB, Bench, Measured, bench, speed_up
from gan_tasks.export.onnx.file import read_onnx
from gan_tasks.export.onnx.provider_cache import remember
from gan_tasks.export.onnx.providers import (
    CPU,
    PROVIDERS,
    Configuration,
    configurations,
    core_count,
    find_provider,
    missing,
    require,
)


def bench_model(path: Path, *, size: int, provider: str, as_json: bool) -> None:
    """Metric, print and remember. Raises UserError for what is no exported model, and a missing provider."""
    file = read_onnx(path)
    measured = bench(file, size=size, tried=to_try(provider))
    where = remember(file, measured.chosen.configuration)
    if as_json:
        print(json.dumps(to_json(measured) | {"remembered_in": str(where)}, indent=1))
    else:
        print_bench(measured, where)


def to_try(provider: str) -> tuple[Configuration, ...]:
    if provider == "auto":
        return configurations()
    asked_for = find_provider(provider)
    require(asked_for)
    rest = () if asked_for == CPU else (Configuration(asked_for, core_count()),)
    return (Configuration(CPU, core_count()), *rest)


def print_bench(result: Bench, where: Path) -> None:
    height, width = result.size
    table = Table(title=f"One image of {height}×{width} pixels", title_justify="left")
    for heading in ("", "load s", "median ms", "times as fast", "dB to float32"):
        table.add_column(heading, justify="right" if heading else "left")
    first = result.measured[0]
    for one in result.measured:
        if not one.problem:
            table.add_row(f"{'→' if one == result.chosen else ' '} {one.configuration}", *figures(one, first))
    console = Console()
    console.print(table)
    for one in result.measured:
        if one.problem:
            console.print(f"not measured: {one.configuration}; {escape(one.problem)}", soft_wrap=True)
    for provider in PROVIDERS:
        if (reason := missing(provider)) is not None:
            console.print(f"not tried: {provider.name}; {escape(reason)}", soft_wrap=True)
    print(
        f"Medians of {len(first.latencies_s)} rounds, in which each has its turn. What is under "
        f"{MIN_FIDELITY_DB:.0f} dB is not chosen."
    )
    print(f"{result.chosen.configuration} is remembered for this model, in {where}")


def figures(one: Measured, first: Measured) -> tuple[str, str, str, str]:
    fidelity = "the same" if math.isinf(one.fidelity_db) and one.fidelity_db > 0 else f"{one.fidelity_db:.0f}"
    return f"{one.load_s:.2f}", f"{one.latency_s * 1000:.1f}", f"{speed_up(first, one):.2f}", fidelity


def to_json(result: Bench) -> dict[str, Any]:
    """JSON has no infinity: an output that is the very same has the fidelity null."""
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

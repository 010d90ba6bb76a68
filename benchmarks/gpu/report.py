"""The tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gpu.options import Row

Rows = dict[str, list[Row]]
Line = Sequence[str]


def number(value: str | float | None, digits: int = 0, factor: float = 1) -> str:
    """Return a figure as text, and – for one that was not measured."""
    return f"{float(value) * factor:,.{digits}f}" if value is not None else "–"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def markdown(measured: dict[str, Any]) -> str:
    """Return all tables, and what was not measured."""
    rows: Rows = {}
    for part in measured["parts"]:
        rows.setdefault(part["part"], []).extend(part["rows"])
    lines = list(head(measured, rows))
    for title, header, make in (
        ("Training steps", STEPS_HEADER, steps),
        (
            "Memory on one large image",
            "Task | Size | Precision | Features | ms | Peak, MiB | Reserved, MiB",
            memory,
        ),
        (
            "Waiting for data",
            "Batch | Workers | Read, images/s | Steps on a ready batch | Both | Lost",
            waiting,
        ),
        ("A short training of pix2pix", "Data | Steps | Images/s | Peak, MiB | Figures", training),
        ("Exported networks", "Network | Form | ms, numpy to numpy | ms, on the device | dB to PyTorch", inference),
        ("GPU tests", "Test | Outcome", tests),
    ):
        table = list(make(rows))
        if table:
            columns = header.split(" | ")
            lines += ["", f"## {title}", "", f"| {header} |", "|" + "---|" * len(columns)]
            lines += [f"| {' | '.join(cells)} |" for cells in table]
    lines += ["", "## Time and problems", "", "| Part | Seconds | Problem |", "|---|---|---|"]
    lines += [
        f"| {part['title']} | {part['seconds']:.0f} | {cell(part['problem'] or 'none')} |"
        for part in measured["parts"]
    ]
    return "\n".join(lines) + "\n"


def cell(text: object) -> str:
    return " ".join(str(text).replace("|", "/").split())


def head(measured: dict[str, Any], rows: Rows) -> Iterator[str]:
    yield f"# Measured on {measured['device']}"
    if measured["tiny"]:
        yield "\nA dry run at tiny sizes: the figures show only that every part runs."
    for row in rows.get("machine", []):
        if "device" in row:
            cuda = f", CUDA {row['cuda']}" if row["cuda"] else ""
            yield f"\n{row['device']}, {number(row['cores'])} cores; PyTorch {row['torch']}{cuda}."
    peaks = [f"{number(flops, 1, 1e-12)} TFLOP/s in {name}" for name, flops in peaks_of(rows).items()]
    if peaks:
        yield f"\nFastest convolution: {', '.join(peaks)}."
    if measured["missing"]:
        yield f"\nMissing packages: {', '.join(measured['missing'])}."


def peaks_of(rows: Rows) -> dict[str, float]:
    return {str(row["precision"]): float(row["flops"] or 0) for row in rows.get("machine", []) if "flops" in row}


STEPS_HEADER = "Task | Batch | Precision | Form | Images/s | ms | Against plain | Share of the peak | Peak, MiB"


def steps(rows: Rows) -> Iterator[Line]:
    """Plain and own forms of each step, with the share of the peak of the operations that the plain form counts."""
    plain = {key(row): row for row in rows.get("plain", []) if "ms" in row}
    counted = {(row["task"], row["batch"]): row["flops"] for row in plain.values()}
    peaks = peaks_of(rows)
    measured = [row for name in ("plain", "own", "compiled") for row in rows.get(name, [])]
    order = {name: index for index, name in enumerate(dict.fromkeys(row["task"] for row in measured))}
    measured.sort(key=lambda row: (order[row["task"]], str(row["precision"]), float(row["batch"] or 0)))
    for row in measured:
        case = [str(row["task"]), number(row["batch"]), str(row["precision"]), str(row["form"])]
        if "error" in row:
            yield [*case, cell(row["error"]), *["–"] * 4]
            continue
        seconds, beside = float(row["ms"] or 0) / 1000, plain.get(key(row))
        ratio = f"{float(beside['ms'] or 0) / 1000 / seconds:.2f}×" if beside else "–"
        flops, peak = counted.get((row["task"], row["batch"])), peaks.get(str(row["precision"]))
        share = percent(float(flops) / seconds / peak if flops and peak else None)
        yield [*case, number(row["images_per_s"], 1), number(row["ms"], 1), ratio, share, number(row["peak_mib"])]


def key(row: Row) -> tuple[Any, ...]:
    return row["task"], row["batch"], row["precision"]


def memory(rows: Rows) -> Iterator[Line]:
    for row in rows.get("memory", []):
        case = [str(row["task"]), f"{number(row['size_px'])}²", str(row["precision"]), str(row["form"])]
        if "error" in row:
            yield [*case, cell(row["error"]), "–", "–"]
        else:
            yield [*case, number(row["ms"], 1), number(row["peak_mib"]), number(row.get("reserved_mib"))]


def waiting(rows: Rows) -> Iterator[Line]:
    for row in rows.get("waiting", []):
        case = [number(row["batch"]), number(row["workers"])]
        if "error" in row:
            yield [*case, cell(row["error"]), "–", "–", "–"]
        else:
            rates = [number(row[name], 1) for name in ("read_per_s", "step_per_s", "both_per_s")]
            yield [*case, *rates, percent(float(row["lost"] or 0))]


def training(rows: Rows) -> Iterator[Line]:
    for row in rows.get("training", []):
        if "error" in row:
            yield [str(row["data"]), cell(row["error"]), "–", "–", "–"]
            continue
        known = ("data", "steps", "images_per_s", "peak_mib", "split")
        figures = [f"{name} {number(value, 3)}" for name, value in row.items() if name not in known]
        speed = [number(row["steps"]), number(row["images_per_s"], 1), number(row["peak_mib"])]
        yield [str(row["data"]), *speed, f"{row['split']}: {', '.join(figures)}"]


def inference(rows: Rows) -> Iterator[Line]:
    for row in rows.get("inference", []):
        case = [str(row["network"]), str(row["form"])]
        if "error" in row:
            yield [*case, cell(row["error"]), "–", "–"]
        else:
            yield [*case, number(row["ms"], 2), number(row["ms_on_device"], 2), number(row["db"])]


def tests(rows: Rows) -> Iterator[Line]:
    found = rows.get("tests", [])
    for outcome in dict.fromkeys(str(row["outcome"]) for row in found):
        yield [f"{sum(row['outcome'] == outcome for row in found)} tests", outcome]
    for row in found:
        if row["outcome"] not in ("passed", "skipped"):
            yield [cell(row["test"]), cell(f"{row['outcome']}: {row.get('error', '')}")]

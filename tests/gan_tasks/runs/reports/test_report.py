import json
import math
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan_tasks.datasets.errors import UserError
from gan_tasks.runs.image_grid import save_grid
from gan_tasks.runs.journal import Journal, read_journal
from gan_tasks.runs.model_card import write_model_card
from gan_tasks.runs.reports.charts import Chart, Line, draw, number_text
from gan_tasks.runs.reports.diagnosis import diagnose
from gan_tasks.runs.reports.report import write_report
from gan_tasks.runs.reports.style import STYLE

Curve = Callable[[float], float]  # a function of the progress of the run, from 0 to 1

# --- Diagnosis: healthy and unhealthy curves ------------------------------------------------------------------

HEALTHY: dict[str, Curve] = {
    "d/real_accuracy": lambda u: 0.60,
    "d/fake_accuracy": lambda u: 0.55,
    "g/adversarial": lambda u: 0.9 - 0.1 * u,
    "grad/g": lambda u: 1.0,
    "grad/d": lambda u: 0.1,
    "outputs/diversity": lambda u: 0.8,
    "skipped": lambda u: 0,
    "val/l1": lambda u: 0.3 - 0.2 * u,
}


def journal(points: int = 100, **changed: Curve) -> list[dict[str, Any]]:
    """A synthetic run of 1000 steps and 4000 images; `grad__g=…` replaces the curve "grad/g"."""
    curves = HEALTHY | {key.replace("__", "/"): curve for key, curve in changed.items()}
    lines = []
    for u in np.linspace(0, 1, points).tolist():
        values = {key: curve(u) for key, curve in curves.items()}
        lines.append({"step": round(1000 * u), "images": round(4000 * u), "time": 60 * u, **values})
    return lines


def test_diagnose_gives_a_healthy_run_only_good_findings() -> None:
    findings = diagnose(journal())
    assert {finding.level for finding in findings} == {"good"}
    assert any("60% of real and 55% of generated" in finding.sentence for finding in findings)
    assert any("L1 on held-out images was best at image 4,000" in finding.sentence for finding in findings)


@pytest.mark.parametrize(
    ("changed", "level", "expected"),
    [
        (
            {"d__real_accuracy": lambda u: 0.97, "d__fake_accuracy": lambda u: 0.99},
            "warning",
            "97% of real and 99% of generated images correctly. It is too strong",
        ),
        ({"d__real_accuracy": lambda u: 0.6 if u < 0.7 else 0.1}, "warning", "10% of real.*collapsed"),
        (
            {"g__adversarial": lambda u: 0.2 + 1.6 * u},
            "note",
            r"adversarial loss \(g/adversarial\) rose from 1 half-way",
        ),
        ({"g__adversarial": lambda u: -0.2 + 2 * u}, "note", "rose from"),
        (
            {"grad__g": lambda u: 1 if u < 0.75 else 15},
            "warning",
            "generator's gradient norm .* 15 at the end.*explod",
        ),
        ({"grad__d": lambda u: 1 if u < 0.75 else 1e-4}, "warning", "discriminator's gradient norm.*vanished"),
        ({"outputs__diversity": lambda u: 0.2}, "warning", "only 20% as varied as the targets"),
        ({"samples__diversity": lambda u: 0.2}, "warning", "samples were only 20% as varied.*mode collapse.*--r1"),
        (
            {"samples__diversity": lambda u: 0.9 if u < 0.6 else 0.45},
            "warning",
            "fallen from 90% to 45%.*mode collapse.*--d-augment-adaptive.*--lr-d",
        ),
        (
            {
                "d__real_accuracy": lambda u: 0.99,
                "d__fake_accuracy": lambda u: 0.99,
                "grad__g": lambda u: 1 if u < 0.75 else 0.05,
            },
            "warning",
            "too strong, and the generator's gradient norm has fallen from 1 to 0.05: it hardly learns",
        ),
        ({"skipped": lambda u: round(3 * u)}, "note", r"3 of 1,000 steps \(0.30%\) were skipped"),
        ({"skipped": lambda u: round(50 * u)}, "warning", "50 of 1,000 steps"),
        ({"val__l1": lambda u: 0.2 + abs(u - 0.5)}, "warning", "best at image 1,980 .*`best` checkpoint"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)
def test_diagnose_names_the_unhealthy_curve_and_its_value(
    changed: dict[str, Curve], level: str, expected: str
) -> None:
    found = [f for f in diagnose(journal(**changed)) if f.level == level]
    assert len(found) == 1
    assert re.search(expected, found[0].sentence)
    assert found[0].sentence.count(".") >= 2  # the observation and its meaning, then the advice


@pytest.mark.parametrize(
    "changed",
    [
        {"d__real_accuracy": lambda u: 0.99},  # only one of the two
        {
            "d__real_accuracy": lambda u: 0.99 if u < 0.7 else 0.7,
            "d__fake_accuracy": lambda u: 0.99 if u < 0.7 else 0.7,
        },
        {"g__adversarial": lambda u: 1 + 0.2 * u},
        {"g__adversarial": lambda u: 3 - 2 * u},
        {"grad__g": lambda u: 1 if u < 0.75 else 8},
        {"grad__g": lambda u: 1000 if 0.9 < u < 0.92 else 1},  # a spike is not an explosion
        {"grad__g": lambda u: math.nan if u > 0.99 else 1},
        {"outputs__diversity": lambda u: 0.2 if u < 0.5 else 0.5},
        {"samples__diversity": lambda u: 0.1 + 0.7 * u},  # the untrained network makes the same of everything
        {"samples__diversity": lambda u: 1.3 if u < 0.1 else 0.7},
        {"val__l1": lambda u: 0.2 + 0.001 * abs(u - 0.5)},  # worse than the best by less than noise
        {"val__l1": lambda u: 0.2 + abs(u - 0.8)},  # the best is recent
    ],
    ids=lambda changed: "+".join(changed),
)
def test_diagnose_gives_no_warning_within_the_limits(changed: dict[str, Curve]) -> None:
    assert {finding.level for finding in diagnose(journal(**changed))} <= {"good"}


def test_diagnose_finds_over_fitting_in_psnr_without_l1() -> None:
    lines = [{key: value for key, value in line.items() if key != "val/l1"} for line in journal()]
    for line in lines:
        line["val/psnr"] = 25 - 5 * abs(line["images"] / 4000 - 0.3)
    (warning,) = [finding for finding in diagnose(lines) if finding.level == "warning"]
    assert "PSNR on held-out images was best at image 1,2" in warning.sentence


@pytest.mark.parametrize(("planned", "fires"), [(4000, False), (4040, False), (8000, True)])
def test_diagnose_reports_an_unfinished_run(planned: int, fires: bool) -> None:
    started = {"step": 0, "images": 0, "time": 0.0, "event": "started", "total_images": planned}
    sentences = [finding.sentence for finding in diagnose([started, *journal()])]
    assert any("4,000 of 8,000 (50%)" in sentence for sentence in sentences) == fires


def test_diagnose_needs_a_minimum_number_of_lines() -> None:
    (finding,) = diagnose(journal(points=4, d__real_accuracy=lambda u: 1, d__fake_accuracy=lambda u: 1))
    assert finding.level == "note" and "4 lines" in finding.sentence
    assert diagnose([])[0].level == "note"


def test_diagnose_lists_warnings_first() -> None:
    levels = [f.level for f in diagnose(journal(grad__g=lambda u: 1 if u < 0.75 else 15, skipped=lambda u: 1))]
    assert levels == sorted(levels, key=["warning", "note", "good"].index)
    assert levels[0] == "warning"


# --- Curves ----------------------------------------------------------------------------------------------------


def line(values: list[float], **options: Any) -> Line:
    return Line("l1", np.arange(1.0, len(values) + 1), np.array(values), **options)


def test_the_y_axis_is_logarithmic_only_above_a_ratio_of_a_hundred() -> None:
    assert "log scale" in draw(Chart("Losses", "loss", [line([0.01, 1.5])]))
    assert "log scale" not in draw(Chart("Losses", "loss", [line([0.1, 1.5])]))
    assert "log scale" not in draw(Chart("Losses", "loss", [line([0.0, 1.5])]))


def test_only_long_noisy_curves_are_drawn_raw_and_smoothed() -> None:
    noise = np.random.default_rng(0).normal(size=1000).tolist()
    assert draw(Chart("Losses", "loss", [line(noise)])).count("<polyline") == 2
    assert draw(Chart("Losses", "loss", [line(noise, noisy=False)])).count("<polyline") == 1
    assert draw(Chart("Losses", "loss", [line(noise[:20])])).count("<polyline") == 1


def test_a_straight_line_is_drawn_straight_from_corner_to_corner() -> None:
    values = np.linspace(0, 100, 51)
    drawn = draw(Chart("Accuracy", "%", [Line("real", values, values, noisy=False)], y_range=(0, 100)))
    points = [tuple(map(float, p.split(","))) for p in re.search(r'polyline points="([^"]+)', drawn)[1].split()]  # type: ignore[index]
    x, y = np.array(points).T
    width, height = (float(size) for size in re.findall(r'<svg x.*?width="(\d+)" height="(\d+)"', drawn)[0])
    np.testing.assert_allclose(x, values / 100 * width, atol=0.06)
    np.testing.assert_allclose(y, (1 - values / 100) * height, atol=0.06)


def test_a_chart_of_a_million_points_stays_small() -> None:
    values = np.random.default_rng(0).normal(size=1_000_000)
    assert len(draw(Chart("Losses", "loss", [Line("l1", np.arange(1e6), values)]))) < 20_000


@given(st.lists(st.floats(), max_size=60))
def test_any_values_can_be_drawn(values: list[float]) -> None:
    values = [value for value in values if abs(value) < 1e100 or not math.isfinite(value)]
    drawn = draw(Chart("Losses", "loss", [line(values)]))
    assert bool(drawn) == any(math.isfinite(value) for value in values)
    assert "nan" not in drawn and "inf" not in drawn


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.25, "0.25"), (999.7, "1000"), (0.0002, "2×10⁻⁴"), (1e-7, "10⁻⁷"), (-3.456e6, "-3.46×10⁶")],
)
def test_number_text_uses_powers_of_ten_for_small_and_large_numbers(value: float, text: str) -> None:
    assert number_text(value) == text


# --- The page --------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """A parsed page: it fails on tags that are not closed in order, and collects tags and text for the tests."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with every file that a report shows."""
    path = tmp_path / "facades"
    written = Journal(path / "journal.jsonl")
    written.event(0, 0, "started", total_images=4000)
    for values in journal():
        step, images = values.pop("step"), values.pop("images")
        del values["time"]
        written.write(step, images, {**values, "lr/g": 2e-4, "g/total": 1.0, "speed/images_per_second": 12.5})
    written.event(1000, 4000, "checkpoint", name="step-00001000")
    image = np.zeros((32, 32, 3), np.uint8)
    for step in (0, 500, 1000):
        save_grid(path / "samples" / f"step-{step:08d}.png", [[image]], ["output"])
    save_grid(path / "before-after.png", [[image, image]], ["before", "after"])
    config = {
        "task": "pix2pix",
        "data": {"pairs": 400},
        "command": "gan-tasks train",
        "versions": {"torch": "2.13.0"},
    }
    (path / "config.json").write_text(json.dumps(config))
    evaluation = {
        "model": {"l1": {"mean": 0.112, "low": 0.106, "high": 0.118}, "psnr": 20.31},
        "baselines": {"copy the input": {"l1": 0.31, "psnr": 22.5}},
        "images": 40,
        "verdict": "Useful: far closer to the target than the input.",
    }
    (path / "evaluation.json").write_text(json.dumps(evaluation))
    return path


def read(run: Path) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


def test_the_report_shows_every_part_of_the_run(run: Path) -> None:
    page = read(run)
    for expected in (
        "Useful: far closer to the target",
        "pix2pix · facades",
        "12.5 images/s",
        "pairs 400",
        "gan-tasks train",
        "torch 2.13.0",
        "0.106 to 0.118",
        "copy the input",
        "Evaluated on 40 images",
        "Image 4,000 (step 1,000)",
        "step-00001000",
        "L1 on held-out images was best",
    ):
        assert expected in page.text, expected
    assert page.count("img") == 4
    assert [path.name for path in run.iterdir() if path.suffix == ".tmp"] == []


def test_the_best_value_of_each_column_is_bold(run: Path) -> None:
    html = write_report(run).read_text(encoding="utf-8")
    best = re.findall(r'<td class="right best">([^<]+)', html)
    assert best == ["0.112", "22.50 dB"]  # L1 of the model (lower), PSNR of the baseline (higher)


def test_the_report_loads_no_other_files(run: Path) -> None:
    page = read(run)
    assert page.count("script") == page.count("link") == page.count("iframe") == 0
    links = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href", "srcset")]
    assert links and all(link and link.startswith("data:image/jpeg;base64,") for link in links)
    assert "url(" not in STYLE and "@import" not in STYLE


def test_the_report_is_accessible(run: Path) -> None:
    page = read(run)
    assert all(attrs.get("alt") for tag, attrs in page.tags if tag == "img")
    assert all(attrs.get("aria-label") for tag, attrs in page.tags if attrs.get("role") == "img")
    assert all(attrs.get("scope") for tag, attrs in page.tags if tag == "th")
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    assert ("html", {"lang": "en"}) in page.tags


def test_text_from_files_is_escaped(run: Path) -> None:
    hostile = "</style><script>alert('x')</script><img src=x onerror=alert(1)>\"'&`<b>`"
    config = dict.fromkeys(("task", "command", "hardware"), hostile) | {
        "data": {hostile: hostile},
        "versions": [hostile],
    }
    (run / "config.json").write_text(json.dumps(config))
    row = {"l1": 0.1, hostile: 1}
    evaluation = {"model": row, "baselines": {hostile: row}, "verdict": hostile, "images": 3}
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    written = Journal(run / "journal.jsonl")
    written.write(1001, 4004, {f"g/{hostile}": 1.0, f"g/adversarial{hostile}": 1.0, f"d/{hostile}_accuracy": 1.0})
    written.event(1001, 4004, hostile, **{hostile: hostile})
    page = read(run)
    assert page.count("script") == 0 and page.count("b") == 0
    assert page.count("img") == 4
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert page.text.count("alert('x')") > 10


def test_a_report_needs_only_a_journal(tmp_path: Path) -> None:
    Journal(tmp_path / "journal.jsonl").write(1, 4, {"g/total": 0.5})
    page = read(tmp_path)
    assert "Not evaluated yet" in page.text
    (tmp_path / "journal.jsonl").write_text("")
    assert read(tmp_path).count("h1") == 1


def test_training_time_excludes_the_pause_before_a_resume(tmp_path: Path) -> None:
    lines = [
        {"step": 1, "images": 4, "time": 0, "g/l1": 1},
        {"step": 2, "images": 8, "time": 120, "g/l1": 1},
        {"step": 2, "images": 8, "time": 99_120, "event": "resumed"},
        {"step": 3, "images": 12, "time": 99_300, "g/l1": 1},
    ]
    (tmp_path / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "Training time5 min" in read(tmp_path).text


def test_a_damaged_image_is_reported_and_the_others_are_shown(run: Path) -> None:
    sample = run / "samples" / "step-00001000.png"
    sample.write_bytes(sample.read_bytes()[:60])
    page = read(run)
    assert "step-00001000.png could not be read" in page.text
    assert page.count("img") == 3


@pytest.mark.parametrize(("name", "content"), [("config.json", "{"), ("evaluation.json", "[1]")])
def test_an_error_names_a_damaged_json_file(run: Path, name: str, content: str) -> None:
    (run / name).write_text(content)
    with pytest.raises(UserError, match=name):
        write_report(run)


def test_a_folder_without_a_journal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run folder"):
        write_report(tmp_path)


# --- The style: WCAG 2.2, success criteria 1.4.3 (text) and 1.4.11 (graphics) ------------------------------------


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_colour_has_enough_contrast(scheme: int) -> None:
    root = re.findall(r":root \{(.*?)\}", STYLE, flags=re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", root))
    for ground in ("page", "panel"):
        for name in colours.keys() - {"page", "panel", "rule"}:
            darker, lighter = sorted((luminance(colours[name]), luminance(colours[ground])))
            needed = 3.0 if name.startswith("line-") else 4.5
            assert (lighter + 0.05) / (darker + 0.05) >= needed, f"{name} on {ground}"


def test_names_that_are_not_utf8_are_shown(tmp_path: Path) -> None:
    run, name = tmp_path / os.fsdecode(b"r\xfcn"), os.fsdecode(b"/photos/caf\xe9")
    log = Journal(run / "journal.jsonl")
    log.event(1, 8, "left-out", file=name)
    assert read_journal(run / "journal.jsonl")[0]["file"] == name
    (run / "config.json").write_text(json.dumps({"task": "pix2pix", "data": name, "command": f"train {name}"}))
    report = write_report(run).read_text(encoding="utf-8")
    assert r"caf\xe9" in report and r"r\xfcn" in report
    card = write_model_card(run).read_text(encoding="utf-8")
    assert r"caf\xe9" in card and r"r\xfcn" in card

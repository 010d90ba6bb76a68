"""Find problems in the curves of a run. Each finding states what was observed, what it means and what to do."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gan_tasks.datasets.errors import counted
from gan_tasks.metrics.colour import ColourShift, shift_sentence
from gan_tasks.metrics.distribution import COLLAPSED_DIVERSITY
from gan_tasks.runs.journal import series

FEWEST_POINTS = 10  # with fewer points, a fifth of a curve has only one or two
FEWEST_EVALUATIONS = 5  # for curves with few points, such as metrics of held-out images

FALLEN_DIVERSITY, FALLEN_GRADIENT = 0.6, 0.1
"""Shares of their largest values to which a diversity, or the generator's gradient norm, must fall for a finding."""

COLOUR_SHIFT = re.compile("colour/(.+)_shift")

Level = Literal["good", "note", "warning"]
Journal = Sequence[Mapping[str, Any]]  # the lines of `read_journal`


@dataclass(frozen=True)
class Finding:
    """One finding about a run, and its level of importance."""

    level: Level
    sentence: str


def diagnose(journal: Journal, *, is_running: bool = False) -> list[Finding]:
    """Return findings about a run, from the lines of `read_journal`: warnings first, good signs last.

    "At the end" means the median of the last fifth of a curve, "half-way" the median of the middle fifth. The events
    "started" and "changed" give the planned length of the training as `total_images`. A training that is running is
    not reported as unfinished.
    """
    findings = [] if is_running else [*_stopped_early(journal)]
    findings += _colours(journal)
    points = sum("event" not in line for line in journal)
    if points < FEWEST_POINTS:
        findings.append(
            Finding(
                "note",
                f"Only {counted(points, 'line')} of numbers: too few to analyse the curves. Train for longer.",
            )
        )
        return sorted(findings, key=_order)
    for check in CHECKS:
        findings += check(journal)
    return sorted(findings, key=_order)


def _order(finding: Finding) -> int:
    return ("warning", "note", "good").index(finding.level)


def _stopped_early(journal: Journal) -> Iterator[Finding]:
    planned = planned_images(journal)
    trained = journal[-1]["images"] if journal else 0
    if any(line.get("event") == "stopped-early" for line in journal):
        yield Finding(
            "note",
            f"Training stopped early at image {trained:,}: the metric on held-out images had not improved in as "
            "many evaluations as `--patience` allows. Use the `best` checkpoint.",
        )
        return
    if trained < 0.98 * planned:  # the last line may be a log interval before the end
        yield Finding(
            "note",
            f"Training is at image {trained:,} of {planned:,} ({trained / planned:.0%}). The results are "
            "those of an unfinished model. Resume the run to finish it.",
        )


def planned_images(journal: Journal) -> int:
    """Return the planned length of the training in images; 0 if it is not known."""
    return next((line["total_images"] for line in reversed(journal) if "total_images" in line), 0)


def _discriminator(journal: Journal) -> Iterator[Finding]:
    real_fifths, fake_fifths = _fifths(journal, "d/real_accuracy"), _fifths(journal, "d/fake_accuracy")
    if real_fifths is None or fake_fifths is None:
        return
    real, fake = real_fifths[-1], fake_fifths[-1]
    observed = (
        f"At the end the discriminator classified {real:.0%} of real and {fake:.0%} of generated images correctly"
    )
    if min(real, fake) > 0.95:
        gradients = _fifths(journal, "grad/g")
        starves = gradients is not None and gradients[-1] < FALLEN_GRADIENT * max(gradients)
        effect = (
            f"and the generator's gradient norm has fallen from {max(gradients):.3g} to {gradients[-1]:.3g}: it "
            "hardly learns any more"
            if gradients is not None and starves
            else "so that the generator learns little from it"
        )
        yield Finding(
            "warning",
            f"{observed}. It is too strong, {effect}. Lower the discriminator's "
            "learning rate, regularise it (R1, augmentation), or collect more images.",
        )
    elif min(real, fake) < 0.2:
        yield Finding(
            "warning",
            f"{observed}. It has collapsed, so that the generator learns nothing useful from it. Go back to an "
            "earlier checkpoint and lower the learning rates, or train the discriminator alone at first.",
        )
    elif min(real, fake) >= 0.35 and max(real, fake) <= 0.75:
        yield Finding("good", f"{observed}. The networks are in balance. Nothing to do.")


def _adversarial_loss(journal: Journal) -> Iterator[Finding]:
    for key in sorted({key for line in journal for key in line if key.startswith("g/adversarial")}):
        fifths = _fifths(journal, key)
        if fifths is None:
            continue
        _, _, middle, fourth, last = fifths
        # Wasserstein and hinge losses cross zero, so the rise is relative to the median of their absolute values.
        size = float(np.median(np.abs(fifths)))
        if middle < fourth < last and last - middle > 0.5 * size:
            yield Finding(
                "note",
                f"The generator's adversarial loss ({key}) rose from {middle:.3g} half-way to {last:.3g} at the end. "
                "The discriminator improves faster than the generator. If the latest samples look worse than earlier "
                "ones, use an earlier checkpoint and lower the discriminator's learning rate.",
            )


def _gradients(journal: Journal) -> Iterator[Finding]:
    for key, network in (("grad/g", "generator"), ("grad/d", "discriminator")):
        fifths = _fifths(journal, key)
        if fifths is None:
            continue
        middle, last = fifths[2], fifths[-1]
        observed = f"The {network}'s gradient norm changed from {middle:.3g} half-way to {last:.3g} at the end"
        if last > 10 * middle:
            yield Finding(
                "warning",
                f"{observed}. The gradients are exploding, and the training may diverge. Go back to an earlier "
                f"checkpoint and lower the {network}'s learning rate, or clip its gradients.",
            )
        elif last < 0.01 * middle:
            yield Finding(
                "warning",
                f"{observed}. The gradients have vanished, and the {network} no longer learns. Look for a loss that "
                "has become constant. If the discriminator is perfect, weaken or regularise it.",
            )


def _diversity(journal: Journal) -> Iterator[Finding]:
    fifths = _fifths(journal, "outputs/diversity", fewest=FEWEST_EVALUATIONS)
    if fifths is not None and fifths[-1] < COLLAPSED_DIVERSITY:
        yield Finding(
            "warning",
            f"At the end the outputs were only {fifths[-1]:.0%} as varied as the targets. They look alike for "
            "different inputs (mode collapse). Use an earlier checkpoint, and raise the weight of the reconstruction "
            "loss or lower the learning rates.",
        )


def _collapse(journal: Journal) -> Iterator[Finding]:
    """Find the mode collapse of a generator of noise → image: its samples are alike, or become alike."""
    fifths = _fifths(journal, "samples/diversity", fewest=FEWEST_EVALUATIONS)
    if fifths is None:
        return
    last, before = fifths[-1], max(fifths[1:-1])  # the first are of the untrained network
    remedies = (
        "Use an earlier checkpoint. Train again with a stronger regularisation of the discriminator (`--r1`), with "
        "adaptive augmentation if there are few images (`--d-augment`, `--d-augment-adaptive`), or with a lower "
        "learning rate of the discriminator (`--lr-d`)."
    )
    if last < COLLAPSED_DIVERSITY:
        yield Finding(
            "warning",
            f"At the end the samples were only {last:.0%} as varied as real images: the generator makes nearly the "
            f"same image of every latent (mode collapse). {remedies}",
        )
    elif last < FALLEN_DIVERSITY * before:
        yield Finding(
            "warning",
            f"The diversity of the samples, relative to that of real images, has fallen from {before:.0%} to "
            f"{last:.0%}: the generator makes fewer and fewer different images (mode collapse). {remedies}",
        )


def _colours(journal: Journal) -> Iterator[Finding]:
    """Compare the colours of the sample grids with those of their targets; the grid of step 0 is untrained."""
    trained = [line for line in journal if line["step"]]
    keys = list(dict.fromkeys(key for line in trained for key in line if COLOUR_SHIFT.fullmatch(key)))
    if not keys:
        return
    points = len(series(trained, keys[0])[1])
    cast_error, brightness_error = (_latest(trained, f"colour/{what}_error") for what in ("cast", "brightness"))
    wrong = shift_sentence(ColourShift(tuple(_latest(trained, key) for key in keys), cast_error, brightness_error))
    if wrong is None:
        return
    observed = f"Compared with the real images, the outputs {wrong}."
    if points < FEWEST_EVALUATIONS and trained[-1]["images"] < 0.5 * planned_images(journal):
        advice = "Soon after the start this is usual: look again when more sample grids are drawn."
        yield Finding("note", f"{observed} {advice}")
        return
    yield Finding(
        "warning",
        f"{observed} Look at the latest samples. If longer training does not help, raise the weight of the "
        "reconstruction, cycle or identity loss or lower the learning rates, and look for training images of such "
        "colours. An earlier checkpoint may be without the fault.",
    )


def _latest(journal: Journal, key: str) -> float:
    """Return the median of the last fifth of the finite values of a curve; inf if there are none."""
    _, values = series(journal, key)
    values = values[np.isfinite(values)]
    return float(np.median(values[-max(1, len(values) // 5) :])) if len(values) else np.inf


def _skipped_steps(journal: Journal) -> Iterator[Finding]:
    skipped = int(max(series(journal, "skipped")[1], default=0))
    steps = max(line["step"] for line in journal)
    if skipped:
        share = skipped / max(steps, 1)
        yield Finding(
            "warning" if share > 0.01 else "note",
            f"{skipped:,} of {steps:,} steps ({share:.2%}) were skipped because a loss or a gradient was not "
            "finite. A few in a long run are harmless. If they become more frequent, lower the learning rate or "
            "train in float32.",
        )


def _over_fitting(journal: Journal) -> Iterator[Finding]:
    for key, name, sign in (("val/l1", "L1", 1), ("val/psnr", "PSNR", -1), ("val/ssim", "SSIM", -1)):
        images, values = series(journal, key)
        images, values = images[np.isfinite(values)], values[np.isfinite(values)]
        if len(values) < FEWEST_EVALUATIONS:
            continue
        best = int(np.argmin(sign * values))
        best_image, best_value, last_value = int(images[best]), values[best], values[-1]
        worse_by = abs(last_value - best_value) / max(abs(best_value), 1e-12)
        if best_image < 0.7 * images[-1] and worse_by > 0.02:
            yield Finding(
                "warning",
                f"{name} on held-out images was best at image {best_image:,} ({best_value:.3g}) and has since "
                f"worsened to {last_value:.3g}: the model is over-fitting. Use the `best` checkpoint. Train the "
                "next model with more images or stronger augmentation.",
            )
        elif best_image >= 0.7 * images[-1]:
            yield Finding(
                "good",
                f"{name} on held-out images was best at image {best_image:,} ({best_value:.3g}), near the end: "
                "there is no sign of over-fitting. Longer training may improve it.",
            )
        return  # the first metric that was logged decides


CHECKS: tuple[Callable[[Journal], Iterator[Finding]], ...] = (
    _discriminator,
    _adversarial_loss,
    _gradients,
    _diversity,
    _collapse,
    _skipped_steps,
    _over_fitting,
)


def _fifths(journal: Journal, key: str, fewest: int = FEWEST_POINTS) -> list[float] | None:
    """Return the medians of the five fifths of a curve, of its finite values; None if it has too few points."""
    _, values = series(journal, key)
    values = values[np.isfinite(values)]
    if len(values) < fewest:
        return None
    return [float(np.median(part)) for part in np.array_split(values, 5)]

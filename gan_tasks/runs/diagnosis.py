"""What the curves of a run say, in plain sentences: what was seen, what it means, what to do."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gan_tasks.runs.journal import series

FEWEST_POINTS = 10  # with fewer, a fifth of a curve is a point or two
FEWEST_MEASUREMENTS = 5  # of what is measured only now and then

Level = Literal["good", "note", "warning"]
Journal = Sequence[Mapping[str, Any]]  # the lines of `read_journal`


@dataclass(frozen=True)
class Finding:
    """One sentence about a run, and how much it matters."""

    level: Level
    sentence: str


def diagnose(journal: Journal) -> list[Finding]:
    """Judge a run by its journal (the lines of `read_journal`); warnings come first, good signs last.

    "At the end" is the median over the last fifth of a curve, "half-way" over the middle fifth. That a run
    stopped early is seen by an event that says how many images it was to see, as `total_images`.
    """
    findings = [*_stopped_early(journal)]
    points = sum("event" not in line for line in journal)
    if points < FEWEST_POINTS:
        findings.append(
            Finding("note", f"Only {points} lines of numbers were logged: too few to judge the curves by.")
        )
        return findings
    for check in CHECKS:
        findings += check(journal)
    return sorted(findings, key=lambda finding: ("warning", "note", "good").index(finding.level))


def _stopped_early(journal: Journal) -> Iterator[Finding]:
    planned = [line["total_images"] for line in journal if "total_images" in line]
    seen = journal[-1]["images"] if journal else 0
    if any(line.get("event") == "stopped-early" for line in journal):
        yield Finding(
            "note",
            f"Training stopped by itself at image {seen:,}: the held-out measure had not improved for as long as "
            "`--patience` says. The `best` checkpoint is the one to use.",
        )
        return
    if planned and seen < 0.98 * planned[-1]:  # the last line may come a log interval before the end
        total_images = planned[-1]
        yield Finding(
            "note",
            f"Training stands at image {seen:,} of {total_images:,} ({seen / total_images:.0%}): these are "
            "the figures of an unfinished model. Resume the run to finish it.",
        )


def _discriminator(journal: Journal) -> Iterator[Finding]:
    real_fifths, fake_fifths = _fifths(journal, "d/real_accuracy"), _fifths(journal, "d/fake_accuracy")
    if real_fifths is None or fake_fifths is None:
        return
    real, fake = real_fifths[-1], fake_fifths[-1]
    seen = f"At the end the discriminator was right about {real:.0%} of real and {fake:.0%} of generated images"
    if min(real, fake) > 0.95:
        yield Finding(
            "warning",
            f"{seen}: it is too strong, and a generator that never fools it learns little from it. Lower the "
            "discriminator's learning rate, regularise it (R1, augmentation), or gather more images.",
        )
    elif min(real, fake) < 0.2:
        yield Finding(
            "warning",
            f"{seen}: it has collapsed, and no longer tells the generator what looks real. Go back to an "
            "earlier checkpoint and lower the learning rates, or let the discriminator train first.",
        )
    elif min(real, fake) >= 0.35 and max(real, fake) <= 0.75:
        yield Finding("good", f"{seen}: it is undecided, as in a balanced game. Nothing to do.")


def _adversarial_loss(journal: Journal) -> Iterator[Finding]:
    for key in sorted({key for line in journal for key in line if key.startswith("g/adversarial")}):
        fifths = _fifths(journal, key)
        if fifths is None:
            continue
        _, _, middle, fourth, last = fifths
        # Wasserstein and hinge losses cross zero, so the rise is measured against their usual size.
        size = float(np.median(np.abs(fifths)))
        if middle < fourth < last and last - middle > 0.5 * size:
            yield Finding(
                "note",
                f"The generator's adversarial loss ({key}) rose from {middle:.3g} half-way to {last:.3g} at "
                "the end: the discriminator is pulling ahead. If the latest samples look worse than earlier "
                "ones, use an earlier checkpoint and lower the discriminator's learning rate.",
            )


def _gradients(journal: Journal) -> Iterator[Finding]:
    for key, network in (("grad/g", "generator"), ("grad/d", "discriminator")):
        fifths = _fifths(journal, key)
        if fifths is None:
            continue
        middle, last = fifths[2], fifths[-1]
        seen = f"The {network}'s gradient norm went from {middle:.3g} half-way to {last:.3g} at the end"
        if last > 10 * middle:
            yield Finding(
                "warning",
                f"{seen}: it is exploding, and training is about to diverge. Go back to an earlier "
                f"checkpoint and lower the {network}'s learning rate, or clip its gradients.",
            )
        elif last < 0.01 * middle:
            yield Finding(
                "warning",
                f"{seen}: it has vanished, and the {network} no longer learns. Look for a loss that has "
                "become constant; if the discriminator is perfect, weaken or regularise it.",
            )


def _diversity(journal: Journal) -> Iterator[Finding]:
    fifths = _fifths(journal, "outputs/diversity", fewest=FEWEST_MEASUREMENTS)
    if fifths is not None and fifths[-1] < 0.3:
        yield Finding(
            "warning",
            f"At the end the outputs were only {fifths[-1]:.0%} as varied as the targets: they look alike "
            "whatever goes in (mode collapse). Use an earlier checkpoint; raise the weight of the "
            "reconstruction loss, or lower the learning rates.",
        )


def _skipped_steps(journal: Journal) -> Iterator[Finding]:
    skipped = int(max(series(journal, "skipped")[1], default=0))
    steps = max(line["step"] for line in journal)
    if skipped:
        share = skipped / max(steps, 1)
        yield Finding(
            "warning" if share > 0.01 else "note",
            f"{skipped:,} of {steps:,} steps ({share:.2%}) were skipped because a loss or a gradient was not "
            "finite. A few in a long run do no harm; if they grow more frequent, lower the learning rate or "
            "train in float32.",
        )


def _over_fitting(journal: Journal) -> Iterator[Finding]:
    for key, name, sign in (("val/l1", "L1", 1), ("val/psnr", "PSNR", -1), ("val/ssim", "SSIM", -1)):
        images, values = series(journal, key)
        images, values = images[np.isfinite(values)], values[np.isfinite(values)]
        if len(values) < FEWEST_MEASUREMENTS:
            continue
        best = int(np.argmin(sign * values))
        best_image, best_value, last_value = int(images[best]), values[best], values[-1]
        worse_by = abs(last_value - best_value) / max(abs(best_value), 1e-12)
        if best_image < 0.7 * images[-1] and worse_by > 0.02:
            yield Finding(
                "warning",
                f"Held-out {name} was best at image {best_image:,} ({best_value:.3g}) and has since worsened "
                f"to {last_value:.3g}: the model is over-fitting. Use the `best` checkpoint; more images or "
                "stronger augmentation would let it learn for longer.",
            )
        elif best_image >= 0.7 * images[-1]:
            yield Finding(
                "good",
                f"Held-out {name} was best late, at image {best_image:,} ({best_value:.3g}): no sign of "
                "over-fitting. Training longer may still help.",
            )
        return  # one measure is enough: they agree, or the first is the one that was trained for


CHECKS: tuple[Callable[[Journal], Iterator[Finding]], ...] = (
    _discriminator,
    _adversarial_loss,
    _gradients,
    _diversity,
    _skipped_steps,
    _over_fitting,
)


def _fifths(journal: Journal, key: str, fewest: int = FEWEST_POINTS) -> list[float] | None:
    """The medians of the five fifths of a curve, over its finite values; None if it is too short to say."""
    _, values = series(journal, key)
    values = values[np.isfinite(values)]
    if len(values) < fewest:
        return None
    return [float(np.median(part)) for part in np.array_split(values, 5)]

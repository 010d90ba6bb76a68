"""Significance tests of differences between models, and the verdict of an evaluation. numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import counted, enumerated
from gan_tasks.export.evaluation.result import Evaluation, SignificanceTest, Subject
from gan_tasks.metrics.catalogue import KERNEL_DISTANCE, L1, PSNR, metric_named
from gan_tasks.metrics.distribution import COLLAPSED_DIVERSITY, Features, KernelComparison, compare_kernel_distances
from gan_tasks.metrics.statistics import Comparison, compare, compare_unpaired, holm, images_for_significance

Numbers = NDArray[np.float64]

MAIN_METRICS = (L1, PSNR)
"""Metrics that a verdict names."""


def pairwise_tests(pairs: Sequence[tuple[Subject, Subject]], *, paired: bool = True) -> list[SignificanceTest]:
    """Test each pair with each metric that both have, with Holm's correction over the pairs.

    Args:
        paired: the values of both are of the same images. The samples of two generators are not paired.

    Images without finite values of both are left out, such as identical images with PSNR.
    """
    tests = []
    for key in dict.fromkeys(key for first, _ in pairs for key in first.per_image):
        found = []
        for first, second in pairs:
            a, b = (np.asarray(subject.per_image.get(key, [])) for subject in (first, second))
            test = paired_test(a, b) if paired else unpaired_test(a, b)
            if test is not None:
                found.append(result_of(test, key, first.name, second.name, test.images, paired))
        tests += corrected(found)
    return tests


def paired_test(a: Numbers, b: Numbers) -> Comparison | None:
    """Compare the finite values of the same images; None if there are none."""
    if len(a) != len(b) or not (usable := np.isfinite(a) & np.isfinite(b)).any():
        return None
    return compare(a[usable], b[usable])


def unpaired_test(a: Numbers, b: Numbers) -> Comparison | None:
    """Compare the finite values of two sets of images; None if a set has none."""
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    return compare_unpaired(a, b) if len(a) and len(b) else None


def kernel_distance_tests(
    real: Features, outputs: Mapping[str, Features], pairs: Sequence[tuple[str, str]], *, paired: bool = True
) -> list[SignificanceTest]:
    """Test each pair with the kernel distance, from the outputs of both for the same inputs, or from samples."""
    found = []
    for first, second in pairs:
        test = compare_kernel_distances(real, outputs[first], outputs[second], paired=paired)
        images = min(len(outputs[first]), len(outputs[second]))
        found.append(result_of(test, KERNEL_DISTANCE.key, first, second, images, paired))
    return corrected(found)


def result_of(
    test: Comparison | KernelComparison, metric: str, first: str, second: str, images: int, paired: bool
) -> SignificanceTest:
    return SignificanceTest(
        metric, first, second, test.difference, test.low, test.high, test.p, images, paired=paired
    )


def corrected(tests: Sequence[SignificanceTest]) -> list[SignificanceTest]:
    """Return the tests with Holm's correction of p."""
    p_values = holm({str(index): test.p for index, test in enumerate(tests)})
    return [replace(test, p=p_values[str(index)], comparisons=len(tests)) for index, test in enumerate(tests)]


def verdict(evaluation: Evaluation) -> str:
    """Summarise the evaluation in a sentence or two."""
    if len(evaluation.models) > 1:
        return verdict_on_several(evaluation)
    (model,) = evaluation.models
    if evaluation.baselines:
        return verdict_on_pairs(model, evaluation)
    if evaluation.is_of_generators:
        return verdict_on_samples(model, evaluation)
    distances = model.set_metrics
    if distances is None or evaluation.inputs is None or evaluation.real_vs_real is None:
        return "There is no verdict: the task has no targets, and sets of images were not compared."
    own, before, real_vs_real = distances.kernel_distance, evaluation.inputs.kernel_distance, evaluation.real_vs_real
    figures = f"kernel distance ×10³ {1e3 * own.mean:.1f}, untranslated {1e3 * before.mean:.1f}"
    if own.mean <= real_vs_real.high:
        return (
            f"No difference from real images is shown with this number of images: {figures}, "
            f"real-vs-real baseline up to {1e3 * real_vs_real.high:.1f}."
        )
    if own.high < before.low:
        return f"Nearer to the real images than the untranslated ones, but still different from them: {figures}."
    return f"No nearer to the real images than the untranslated ones are: {figures}."


MUCH_LESS_VARIED = 0.7
"""Diversity, relative to real images, below which a verdict mentions it."""


def verdict_on_samples(model: Subject, evaluation: Evaluation) -> str:
    """Say whether samples can be told from real images, and whether they are as varied."""
    return " ".join(filter(None, (verdict_by_distance(model, evaluation), verdict_by_diversity(model))))


def verdict_by_distance(model: Subject, evaluation: Evaluation) -> str:
    if model.set_metrics is None or evaluation.real_vs_real is None:
        return "There is no verdict by a distance: the sets of images were not compared."
    own, real_vs_real = model.set_metrics.kernel_distance, evaluation.real_vs_real
    figures = f"kernel distance ×10³ {1e3 * own.mean:.1f}, real-vs-real baseline up to {1e3 * real_vs_real.high:.1f}"
    if own.mean <= real_vs_real.high:
        return f"No difference from real images is shown with this number of images: {figures}."
    return f"The samples differ from real images: {figures}."


def verdict_by_diversity(model: Subject) -> str:
    diversity = model.set_metrics.diversity if model.set_metrics else model.pixel_diversity
    if diversity is None or not diversity < MUCH_LESS_VARIED:
        return ""
    collapse = ": the generator has collapsed to a few images" if diversity < COLLAPSED_DIVERSITY else ""
    return f"The samples are only {diversity:.0%} as varied as real images{collapse}."


def verdict_on_pairs(model: Subject, evaluation: Evaluation) -> str:
    """Compare the model with the best baseline by L1, and by kernel distance if it is better than all of them."""
    by_kernel = [test.better for test in evaluation.tests if test.metric == KERNEL_DISTANCE.key]
    beats_all = len(by_kernel) == len(evaluation.baselines) and set(by_kernel) == {model.name}
    also = " By kernel distance significantly nearer to the real images than every baseline."
    return verdict_by_l1(model, evaluation) + (also if beats_all else "")


def verdict_by_l1(model: Subject, evaluation: Evaluation) -> str:
    best = min(evaluation.baselines, key=lambda subject: subject.metrics["l1"].mean)
    own, other = model.metrics["l1"].mean, best.metrics["l1"].mean
    figures = f"L1 {own:.4f}, {best.name} {other:.4f}"
    test = next((t for t in evaluation.tests if t.metric == "l1" and t.second == best.name), None)
    if test is not None and not test.can_be_significant:
        better = "better" if own < other else "worse"
        return f"By L1 {better} than the best baseline: {figures}. {too_few(test)}"
    if test is None or test.better is None:
        return f"By L1 no difference from the best baseline is shown: {figures}."
    if test.better == model.name:
        return f"By L1 significantly better than every baseline: {figures}."
    return f"By L1 worse than a baseline: {figures}. L1 rewards blur: look at the images too."


def too_few(test: SignificanceTest) -> str:
    """Say that no test can show a difference with so few images, and how many are needed."""
    return (
        f"No test can show a difference with {counted(test.images, 'image')}: evaluate on "
        f"{images_for_significance(test.comparisons, paired=test.paired)} or more."
    )


def verdict_on_several(evaluation: Evaluation) -> str:
    wins: dict[str, list[str]] = {}
    open_metrics = []
    untestable = [test for test in evaluation.tests if not test.can_be_significant]
    for key in dict.fromkeys(test.metric for test in evaluation.tests):
        tests = [test for test in evaluation.tests if test.metric == key]
        heading = "kernel distance" if key == KERNEL_DISTANCE.key else metric_named(key).heading
        best = best_of(tests)
        if not any(test.can_be_significant for test in tests):
            continue
        if best is None:
            open_metrics.append(heading)
        else:
            wins.setdefault(best, []).append(heading)
    sentences = [f"{name} is better by {enumerated(metrics)}" for name, metrics in wins.items()]
    if open_metrics:
        several = "no single best one" if len(evaluation.models) > 2 else "no difference shown"
        sentences.append(f"{several} by {enumerated(open_metrics)}")
    if untestable:
        figures = f"{means_sentence(evaluation)}. {too_few(untestable[0])}"
        return f"{'; '.join(sentences)}. {figures}" if sentences else figures
    text = "; ".join(sentences) or "nothing could be compared"
    return f"{text[0].upper() if not wins else text[0]}{text[1:]}."


def means_sentence(evaluation: Evaluation) -> str:
    """Give the means of each model in the first metrics."""
    metrics = [metric for metric in evaluation.metrics if metric in MAIN_METRICS] or evaluation.metrics[:2]

    def figures(model: Subject) -> str:
        means = {metric: model.metrics[metric.key].mean for metric in metrics if metric.key in model.metrics}
        return ", ".join(f"{metric.heading} {mean:.{metric.digits}f}" for metric, mean in means.items())

    return "; ".join(f"{model.name}: {figures(model)}" for model in evaluation.models)


def best_of(tests: Sequence[SignificanceTest]) -> str | None:
    """Return the name of the subject that is significantly better than each of the others; None if there is none."""
    names = {name for test in tests for name in (test.first, test.second)}
    for name in sorted(names):
        own = [test for test in tests if name in (test.first, test.second)]
        if len(own) == len(names) - 1 and all(test.better == name for test in own):
            return name
    return None

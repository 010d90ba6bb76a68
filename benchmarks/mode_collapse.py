"""Which adversarial objectives find all modes: a ring of 8 and a grid of 25 Gaussians in the plane.

    python benchmarks/mode_collapse.py [--steps 2000] [--seeds 3] [--d-speed 0.1] [--out FOLDER] [--only hinge]

Each objective trains the same small networks by Adam on batches of points, with the functions that tasks use. The
discriminator learns at a tenth of the generator's rate: a generator that runs ahead collapses to few modes. Then
2,500 points are generated. A point is good if it is within three standard deviations of a mode, and a mode is found
if at least 20 good points are nearest to it (VEEGAN, https://arxiv.org/abs/1705.07761; PacGAN,
https://arxiv.org/abs/1712.04086). Printed is a table in Markdown, mean and range over the seeds; `--out` also gets a
picture of the points of one seed.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import sys
import textwrap
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gan_tasks.losses.adversarial import LOGITS, d_objective, g_objective
from gan_tasks.losses.energy import EnergyConfig
from gan_tasks.losses.functional import AdversarialConfig, Scales
from gan_tasks.networks.synthesis.autoencoder import AutoencoderDiscriminator

LATENT = 2
WIDTH, LAYERS = 64, 3
BATCH = 64
LR = 5e-3
"""Learning rate of generators at the beginning; it falls to 0."""
GENERATED = 2500
FEWEST_GOOD = 20
"""Good points that make a mode found."""
CODE = 4
"""Numbers of the code of an autoencoder."""


class Mixture(NamedTuple):
    """Gaussians of one standard deviation at the modes M×2."""

    modes: Tensor
    deviation: float

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        chosen = torch.randint(len(self.modes), (count,), generator=generator)
        return self.modes[chosen] + self.deviation * torch.randn(count, 2, generator=generator)


def ring() -> Mixture:
    angles = torch.arange(8) * (2 * math.pi / 8)
    return Mixture(2 * torch.stack([angles.cos(), angles.sin()], dim=1), 0.1)


def grid() -> Mixture:
    axis = torch.arange(-4.0, 5.0, 2.0)
    return Mixture(torch.cartesian_prod(axis, axis), 0.15)


MIXTURES = {"ring of 8": ring, "grid of 25": grid}


@dataclass(frozen=True)
class Trial:
    """An objective with its options."""

    adversarial: AdversarialConfig
    energy: EnergyConfig = LOGITS
    g_interval: int = 1
    """G is updated on every N-th batch."""
    sees_deviation: bool = False
    """Whether the discriminator sees the deviation of its features over the batch."""
    d_speed: float | None = None
    """Learning rate of the discriminator over that of the generator, if not that of all objectives."""


NON_SATURATING = AdversarialConfig(adversarial="non-saturating")
TRIALS = {
    "vanilla": Trial(AdversarialConfig(adversarial="vanilla")),
    "non-saturating": Trial(NON_SATURATING),
    "lsgan": Trial(AdversarialConfig(adversarial="lsgan")),
    "hinge": Trial(AdversarialConfig(adversarial="hinge")),
    "wasserstein, weights clipped": Trial(
        AdversarialConfig(adversarial="wasserstein", clip_weights=0.1), g_interval=2
    ),
    "WGAN-GP": Trial(AdversarialConfig(adversarial="wasserstein", gradient_penalty=1.0), g_interval=2),
    "relativistic + R1 + R2": Trial(AdversarialConfig(adversarial="relativistic", r1=0.1, r2=0.1)),
    "loss-sensitive": Trial(AdversarialConfig(adversarial="loss-sensitive")),
    "EBGAN": Trial(NON_SATURATING, EnergyConfig(energy="ebgan")),
    "BEGAN": Trial(NON_SATURATING, EnergyConfig(energy="began")),
}
VARIANTS = {
    "EBGAN without pulling away": Trial(NON_SATURATING, EnergyConfig(energy="ebgan", pulling_away=0.0)),
    "non-saturating + R1": Trial(AdversarialConfig(adversarial="non-saturating", r1=0.1)),
    "non-saturating + minibatch deviation": Trial(NON_SATURATING, sees_deviation=True),
    "non-saturating, D as fast as G": Trial(NON_SATURATING, d_speed=1.0),
    "non-saturating + R1, D as fast as G": Trial(
        AdversarialConfig(adversarial="non-saturating", r1=0.1), d_speed=1.0
    ),
}
ALL = TRIALS | VARIANTS


@dataclass
class Step:
    """What an objective needs to know of a training step."""

    generator: torch.Generator
    index: int = 0
    world_size: int = 1
    adaptive: dict[str, Tensor] = field(default_factory=dict)

    def mean(self, value: Tensor) -> Tensor:
        return value.detach()

    def random(self, batch_size: int, *shape: int, device: torch.device, normal: bool = False) -> Tensor:
        draw = torch.randn if normal else torch.rand
        return draw(batch_size, *shape, generator=self.generator).to(device)


class Linear(nn.Module):
    """A linear layer for each seed, S×B×inputs → S×B×outputs."""

    def __init__(self, inputs: int, outputs: int, seeds: Sequence[int]) -> None:
        super().__init__()
        layers = []
        for seed in seeds:
            torch.manual_seed(1000 * seed + inputs + outputs)
            layers.append(nn.Linear(inputs, outputs))
        self.weight = nn.Parameter(torch.stack([layer.weight.detach().T for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach()[None] for layer in layers]))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class Points(nn.Module):
    """A network for each seed, S·B×K → S·B×outputs×1×1: points are images of one pixel and two channels.

    sees_deviation: whether its last layer sees the mean deviation of its features over the batch.
    """

    def __init__(self, inputs: int, outputs: int, seeds: Sequence[int], *, sees_deviation: bool = False) -> None:
        super().__init__()
        self.seeds, self.sees_deviation = len(seeds), sees_deviation
        hidden = [part for _ in range(LAYERS - 1) for part in (Linear(WIDTH, WIDTH, seeds), nn.LeakyReLU(0.2))]
        self.layers = nn.Sequential(Linear(inputs, WIDTH, seeds), nn.LeakyReLU(0.2), *hidden)
        self.last = Linear(WIDTH + sees_deviation, outputs, seeds)

    def forward(self, x: Tensor) -> Tensor:
        features = self.layers(x.reshape(self.seeds, len(x) // self.seeds, -1))
        if self.sees_deviation:
            deviation = (features.var(dim=1, keepdim=True) + 1e-8).sqrt().mean(dim=2, keepdim=True)
            features = torch.cat([features, deviation.expand(-1, features.shape[1], -1)], dim=2)
        y: Tensor = self.last(features)
        return y.reshape(len(x), -1, 1, 1)


class Discriminator(Points):
    """Maps points S·B×2×1×1 to one scale of logits."""

    def __call__(self, image: Tensor) -> Scales:
        return [[super().__call__(image)]]


def discriminator_of(trial: Trial, seeds: Sequence[int]) -> nn.Module:
    match trial.energy.energy:
        case "none":
            return Discriminator(2, 1, seeds, sees_deviation=trial.sees_deviation)
        case "ebgan":
            return AutoencoderDiscriminator(Points(2, CODE, seeds), Points(CODE, 2, seeds), energy="squared")
        case "began":
            return AutoencoderDiscriminator(Points(2, CODE, seeds), Points(CODE, 2, seeds), energy="absolute")


def trained(trial: Trial, mixture: Mixture, *, steps: int, seeds: Sequence[int], d_speed: float) -> list[Tensor]:
    """Train networks for each seed on points of a mixture, and return the points that each generates."""
    random = torch.Generator().manual_seed(sum(seeds))
    g = trained_generator(trial, mixture, random, steps=steps, seeds=seeds, d_speed=d_speed)
    with torch.no_grad():
        points = g(torch.randn(GENERATED * len(seeds), LATENT, generator=random)).flatten(1)
    return list(points.chunk(len(seeds)))


def trained_generator(
    trial: Trial, mixture: Mixture, random: torch.Generator, *, steps: int, seeds: Sequence[int], d_speed: float
) -> Points:
    """Train networks for each seed side by side on points of a mixture, and return the generators.

    Their losses are means over all points, so that each network has the gradient of its own points. Adam scales it.
    """
    g, d = Points(LATENT, 2, seeds), discriminator_of(trial, seeds)
    lr_d = LR * (d_speed if trial.d_speed is None else trial.d_speed)
    of_g, of_d = (torch.optim.Adam(each.parameters(), lr, (0.5, 0.99)) for each, lr in ((g, LR), (d, lr_d)))
    schedules = [torch.optim.lr_scheduler.LinearLR(each, 1, 0, steps) for each in (of_g, of_d)]
    step, count = Step(random), BATCH * len(seeds)
    for step.index in range(steps):
        real = mixture.draw(count, random)[:, :, None, None]
        fake = g(torch.randn(count, LATENT, generator=random))
        losses, _ = d_objective(step, trial.adversarial, d, real, fake.detach(), energy=trial.energy)
        update(of_d, torch.stack(list(losses.values())).sum())
        if limit := trial.adversarial.clip_weights:
            with torch.no_grad():
                for weight in d.parameters():
                    weight.clamp_(-limit, limit)
        if step.index % trial.g_interval == 0:
            d.requires_grad_(False)
            update(of_g, g_objective(step, trial.adversarial, d, real, fake, energy=trial.energy))
            d.requires_grad_(True)
        for schedule in schedules:
            schedule.step()
    return g


def update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def modes_and_share(points: Tensor, mixture: Mixture) -> tuple[int, float]:
    """Return the number of modes found, and the share of good points."""
    distances, nearest = torch.cdist(points, mixture.modes).min(dim=1)
    good = distances <= 3 * mixture.deviation
    counts = torch.bincount(nearest[good], minlength=len(mixture.modes))
    return int((counts >= FEWEST_GOOD).sum()), float(good.float().mean())


class Result(NamedTuple):
    """The points of a training."""

    trial: str
    mixture: str
    seed: int
    points: Tensor


class Training(NamedTuple):
    """Trainings side by side."""

    trial: str
    mixture: str
    seeds: tuple[int, ...]
    steps: int
    d_speed: float


def trainings(names: Sequence[str], *, seeds: int, steps: int, d_speed: float) -> list[Training]:
    """Return the trainings of objectives. Those of energies are no means over single points: each seed is alone."""
    found = []
    for name in names:
        alone = ALL[name].energy.energy != "none"
        groups = [(seed,) for seed in range(seeds)] if alone else [tuple(range(seeds))]
        found += [Training(name, mixture, group, steps, d_speed) for mixture in MIXTURES for group in groups]
    return found


def run(training: Training) -> list[Result]:
    torch.set_num_threads(1)
    trial, mixture = ALL[training.trial], MIXTURES[training.mixture]()
    points = trained(trial, mixture, steps=training.steps, seeds=training.seeds, d_speed=training.d_speed)
    return [
        Result(training.trial, training.mixture, seed, each)
        for seed, each in zip(training.seeds, points, strict=True)
    ]


def collected(groups: Iterable[list[Result]]) -> list[Result]:
    """Return the results of all trainings, and say when each is done."""
    results: list[Result] = []
    for group in groups:
        results += group
        for result in group:
            modes, share = modes_and_share(result.points, MIXTURES[result.mixture]())
            print(f"{result.trial}, {result.mixture}, seed {result.seed}: {modes}, {share:.0%} good", file=sys.stderr)
    return results


def table(results: Sequence[Result]) -> str:
    """Return the modes found and the shares of good points, mean and range over the seeds, in Markdown."""
    lines = ["| Objective | " + " | ".join(f"{name}: modes | good" for name in MIXTURES) + " |"]
    lines.append("|---" * (1 + 2 * len(MIXTURES)) + "|")
    for trial in dict.fromkeys(result.trial for result in results):
        cells = []
        for name, mixture in MIXTURES.items():
            measured = [
                modes_and_share(result.points, mixture())
                for result in results
                if (result.trial, result.mixture) == (trial, name)
            ]
            modes, shares = [count for count, _ in measured], [100 * share for _, share in measured]
            cells.append(f"{sum(modes) / len(modes):.1f} ({min(modes)}–{max(modes)})")
            cells.append(f"{sum(shares) / len(shares):.0f} % ({min(shares):.0f}–{max(shares):.0f})")
        lines.append(f"| {trial} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def picture(results: Sequence[Result], *, side: int = 120, title: int = 26, shown: int = 400) -> str:
    """Return an SVG with the points of the first seed: a row for each mixture, a column for each objective."""
    trials = list(dict.fromkeys(result.trial for result in results))
    width, height = side * len(trials), (side + title) * len(MIXTURES)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">']
    parts.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    for row, (name, mixture) in enumerate(MIXTURES.items()):
        modes = mixture().modes
        limit = 1.25 * float(modes.abs().max())
        for column, trial in enumerate(trials):
            points = next(r.points for r in results if (r.trial, r.mixture) == (trial, name))
            parts.append(f'<g transform="translate({column * side} {row * (side + title)})">')
            for line, text in enumerate(textwrap.wrap(trial, 24)):
                parts.append(
                    f'<text x="{side / 2}" y="{11 + 10 * line}" font-size="8" text-anchor="middle">{text}</text>'
                )
            parts.append(f'<g transform="translate(0 {title})">')
            parts.append(dots(modes, limit, side, "#bbb", 7))
            parts.append(f"{dots(points[:shown], limit, side, '#c33', 1.5)}</g></g>")
    return "\n".join([*parts, "</svg>"])


def dots(points: Tensor, limit: float, side: int, colour: str, size: float) -> str:
    """Return the points within ±limit as dots in a square of `side`."""
    inside = points[points.abs().amax(dim=1) < limit]
    where = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in ((inside / limit + 1) * (side / 2)).tolist())
    return f'<path d="{where}" stroke="{colour}" stroke-width="{size}" stroke-linecap="round"/>'


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000, help="batches of each training")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each objective")
    parser.add_argument("--d-speed", type=float, default=0.1, help="learning rate of D over that of G")
    parser.add_argument("--processes", type=int, default=2, help="trainings at the same time")
    parser.add_argument("--only", default="", help="only the objectives with this in their name")
    parser.add_argument("--out", type=Path, help="a folder for the table and the picture")
    options = parser.parse_args(arguments)
    names = [name for name in ALL if options.only in name]
    if not names:
        parser.error(f"no objective has {options.only!r} in its name: there are {', '.join(ALL)}")
    begin, todo = (
        time.monotonic(),
        trainings(names, seeds=options.seeds, steps=options.steps, d_speed=options.d_speed),
    )
    if options.processes == 1:
        results = collected(map(run, todo))
    else:
        with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
            results = collected(pool.imap(run, todo))
    print(table(results))
    print(f"\n{len(results)} trainings of {options.steps} steps in {time.monotonic() - begin:.0f} s", file=sys.stderr)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "mode_collapse.md").write_text(table(results) + "\n")
        (options.out / "mode_collapse.svg").write_text(picture(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())

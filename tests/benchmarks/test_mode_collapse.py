"""`benchmarks/mode_collapse.py` trains on points, and counts modes and good points."""

from __future__ import annotations

from pathlib import Path

import mode_collapse
import numpy as np
import pytest
import torch
from mode_collapse import ALL, LATENT, Result, modes_and_share, picture, ring, table, trained, trained_generator
from numpy.typing import NDArray
from tiny_synthesis import FrameModel
from torch import Tensor, nn

from gan_tasks.export.inference.synthesis.directions import find_directions, moved
from gan_tasks.export.inference.synthesis.latent_space import LatentSpace
from gan_tasks.export.inference.synthesis.points import Point
from gan_tasks.losses.functional import AdversarialConfig
from gan_tasks.networks.synthesis.frame import Mapping, SynthesisGenerator


def test_a_mode_is_found_with_20_good_points() -> None:
    mixture = ring()
    near = mixture.modes + torch.tensor([0.0, 2.9 * mixture.deviation])
    far = mixture.modes + torch.tensor([0.0, 3.1 * mixture.deviation])
    points = torch.cat([near[:3].repeat(20, 1), near[3:4].repeat(19, 1), far[4:5].repeat(21, 1)])
    assert modes_and_share(points, mixture) == (3, pytest.approx(79 / 100))


def test_the_mixtures_have_8_and_25_modes_and_good_points() -> None:
    random = torch.Generator().manual_seed(0)
    for name, count in (("ring of 8", 8), ("grid of 25", 25)):
        mixture = mode_collapse.MIXTURES[name]()
        modes, share = modes_and_share(mixture.draw(2500, random), mixture)
        assert modes == count and share == pytest.approx(1 - torch.exp(torch.tensor(-4.5)).item(), abs=0.01)


@pytest.mark.parametrize("name", ALL)
def test_every_objective_trains(name: str) -> None:
    seeds = (0,) if ALL[name].energy.energy != "none" else (0, 1)
    points = trained(ALL[name], ring(), steps=3, seeds=seeds, d_speed=0.1)
    assert [each.shape for each in points] == [(2500, 2)] * len(seeds)
    assert all(each.isfinite().all() for each in points)


def test_networks_trained_side_by_side_do_not_mix() -> None:
    """A seed gives the network that it gives beside others, as long as no points have been drawn."""
    networks = [mode_collapse.Points(2, 2, seeds, sees_deviation=True) for seeds in ((0, 1), (1,))]
    points = torch.randn(5, 2)
    both = networks[0](torch.cat([torch.zeros(5, 2), points]))
    torch.testing.assert_close(both[5:], networks[1](points))


def test_the_program_writes_table_and_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--steps", "2", "--seeds", "2", "--processes", "1", "--only", "hinge", "--out", str(tmp_path)]
    assert mode_collapse.main(options) == 0
    printed = capsys.readouterr()
    assert (tmp_path / "mode_collapse.md").read_text() == printed.out
    header, _, row = printed.out.splitlines()
    assert header.count("|") == row.count("|") == 6
    assert row.startswith("| hinge | ")
    assert "4 trainings of 2 steps" in printed.err
    assert (tmp_path / "mode_collapse.svg").read_text().count("hinge") == 2


def test_mean_and_range_over_the_seeds() -> None:
    modes = {name: make().modes for name, make in mode_collapse.MIXTURES.items()}
    results = [
        Result("any", name, seed, each[:found].repeat(20, 1))
        for name, each in modes.items()
        for seed, found in ((0, 2), (1, 7))
    ]
    assert table(results).splitlines()[2] == "| any | 4.5 (2–7) | 100 % (100–100) | 4.5 (2–7) | 100 % (100–100) |"
    assert picture(results).count("<g transform") == 4 and picture(results).count("h0") == 8 + 25 + 40 + 40


def test_an_unknown_objective_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        mode_collapse.main(["--only", "nothing"])
    assert "no objective has 'nothing' in its name: there are vanilla" in capsys.readouterr().err


def test_every_adversarial_value_is_tried() -> None:
    """Of the two relativistic losses, the one that pairs points."""
    tried = {trial.adversarial.adversarial for trial in ALL.values()}
    values = AdversarialConfig.__dataclass_fields__["adversarial"].type
    assert tried == {*values.__args__} - {"relativistic-average"}


class Spot(nn.Module):
    """Draws points N×2×1×1 as bright spots in images N×3×32×32 of the square from -3 to 3."""

    def forward(self, point: Tensor, style: Tensor) -> Tensor:
        axis = torch.linspace(-3, 3, 32, device=point.device)
        x, y = (-(axis - place).square() for place in point.flatten(1).T[..., None])
        return (y[:, :, None] + x[:, None, :]).exp()[:, None].expand(-1, 3, -1, -1) * 2 - 1


def test_a_direction_of_the_trained_ring_moves_the_spot_along_the_factor_of_its_examples() -> None:
    """The factors of the images are known: x and y of their spots."""
    random = torch.Generator().manual_seed(0)
    trial = ALL["non-saturating, D as fast as G"]
    points = trained_generator(trial, ring(), random, steps=400, seeds=(0,), d_speed=1.0)
    generator = SynthesisGenerator(
        mapping=Mapping(LATENT), base=points, stages=[], to_rgb=[Spot()], rgb="last", output_size=(32, 32)
    )
    space = LatentSpace(FrameModel(generator.eval().requires_grad_(False)))
    seeds = [Point(seed) for seed in range(200)]
    styles = space.styles_of(seeds)
    before = centres(space.images(styles))
    for factor in (0, 1):
        sides = [
            [s for s, place in zip(seeds, before, strict=True) if (place[factor] > 0) == side] for side in (0, 1)
        ]
        found = find_directions(space, "boundary", examples=(sides[0], sides[1]))
        change = centres(space.images(moved(styles, found, [1.0]))).mean(0) - before.mean(0)
        assert change[factor] > 0.4 and abs(change[1 - factor]) < change[factor] / 2, change


def centres(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return x and y of the spots, N×2."""
    light = images[..., 0].astype(float)
    axis, total = np.linspace(-3, 3, light.shape[1]), light.sum((1, 2))
    return np.stack([light.sum(1) @ axis / total, light.sum(2) @ axis / total], axis=1)

"""Checkpoints of StyleGAN3: https://github.com/NVlabs/stylegan3, configurations T and R.

The files are network-snapshot-….pkl with the averaged generator `G_ema`, or its state dict. The layers are called
`synthesis.L{number}_{size}_{channels}`. A file holds the filters, but neither the sampling rates nor the number of
critically sampled layers, which follow from the sizes of layers and filters.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.synthesis.frame import SynthesisGenerator
from gan_tasks.networks.synthesis.stylegan2 import StyleMapping
from gan_tasks.networks.synthesis.stylegan3 import (
    OVERSAMPLING,
    Signal,
    signals_of_layers,
    stylegan3_generator,
    widths_of_layers,
)
from gan_tasks.pretrained.conversion import (
    Architecture,
    State,
    Usage,
    assemble,
    conv_channels,
    describe,
    rename_modules,
)
from gan_tasks.pretrained.synthesis.stylegan2 import mapping_names, mapping_sizes
from gan_tasks.pretrained.synthesis.usage import synthesis_usage

LAYER = re.compile(r"synthesis\.(L(\d{1,3})_(\d{1,4})_\d{1,5})\.weight")
MOST_LAYERS = 64
"""Most layers. Public networks have 14."""
LARGEST_SIZE = 4096
"""Largest size of features in samples."""
MOST_TAPS = 64
"""Most taps of a filter per step of the coarser sampling. Public networks have 6."""


def is_generator(state: State) -> bool:
    return {"synthesis.input.freqs", "synthesis.input.phases", "mapping.fc0.weight"} <= state.keys()


def find_layers(state: State) -> list[tuple[str, int]]:
    """Return (published name, size in samples) of all layers, of which the last makes the image."""
    found = sorted((int(match[2]), match[1], int(match[3])) for match in map(LAYER.fullmatch, state) if match)
    numbers = [number for number, _, _ in found]
    if not 2 <= len(found) <= MOST_LAYERS + 1 or numbers != list(range(len(found))):
        raise UserError(
            f"it has {len(found)} layers, numbered {numbers[:4]} …: expected L0, L1 … up to L{MOST_LAYERS}"
        )
    if any(not 0 < size <= LARGEST_SIZE for _, _, size in found):
        raise UserError(f"it has features of {max(size for *_, size in found)} samples: expected 1 to {LARGEST_SIZE}")
    return [(f"synthesis.{name}", size) for _, name, size in found]


def filter_shape(state: State, key: str) -> tuple[int, ...]:
    """Return the shape of a filter. Raises UserError if it is none."""
    filter = state.get(key)
    if filter is None or filter.ndim not in (1, 2) or not 0 < filter.shape[0] == filter.shape[-1] <= 1024:
        raise UserError(f"{key} is {describe(filter)}, expected a low-pass filter such as 12 or 12×12")
    return tuple(filter.shape)


def find_signals(state: State, layers: list[tuple[str, int]], filter_size: int) -> tuple[tuple[Signal, ...], int]:
    """Return the sampling of all layers and how many are sampled critically, such that sizes and filters fit."""
    sizes, count = [size for _, size in layers], len(layers) - 1
    resolution = sizes[-1]
    ups = [filter_shape(state, f"{name}.up_filter")[0] for name, _ in layers[:-1]]
    is_radial = [len(filter_shape(state, f"{name}.down_filter")) == 2 for name, _ in layers[:-1]]
    first_rate = signals_of_layers((resolution, resolution), count, critical=0)[0].rate
    margin = (sizes[0] - first_rate) // 2
    for critical in sorted(range(count), key=lambda number: abs(number - 2)):  # 2 as published, or near
        signals = signals_of_layers((resolution, resolution), count, critical=critical, margin=margin)
        rates = [signals[0].rate, *(signal.rate for signal in signals)]
        steps = [OVERSAMPLING * after // before for before, after in pairwise(rates[:-1])]
        if (
            [signal.size[0] for signal in signals] == sizes
            and [filter_size * step for step in steps] == ups
            and (not any(is_radial) or sum(is_radial) == count - critical)
        ):
            return signals, critical
    raise UserError(
        f"its layers have {', '.join(map(str, sizes))} samples and filters of {', '.join(map(str, ups))} taps, which "
        f"no StyleGAN3 of {resolution}×{resolution} pixels has"
    )


def generator_names(layers: list[tuple[str, int]], mapping_layers: int) -> dict[str, str]:
    """Return our names → published names."""
    names = mapping_names(mapping_layers) | {
        "base": "synthesis.input",
        "base.affine": "synthesis.input.affine",
        "base.frequencies": "synthesis.input.freqs",
    }
    for number, (published, _) in enumerate(layers):
        ours = f"stages.{number}" if number < len(layers) - 1 else "to_rgb.0"
        names |= {ours: published, f"{ours}.affine": f"{published}.affine"}
        names[f"{ours}.magnitude.mean_square"] = f"{published}.magnitude_ema"
    return names


def build_generator(state: State) -> SynthesisGenerator:
    layers = find_layers(state)
    filter_size = filter_shape(state, f"{layers[0][0]}.up_filter")[0] // OVERSAMPLING
    if not 0 < filter_size <= MOST_TAPS:
        raise UserError(f"its filters have {filter_size} taps a step: expected 1 to {MOST_TAPS}")
    signals, critical = find_signals(state, layers, filter_size)
    widths = [conv_channels(state, name)[0] for name, _ in layers]
    mapping = mapping_sizes(state, has_latent=True)

    def make() -> SynthesisGenerator:
        return stylegan3_generator(
            StyleMapping(**mapping),
            signals,
            widths[:-1],
            critical=critical,
            kernel=state[f"{layers[0][0]}.weight"].shape[-1],
            radial=state[f"{layers[0][0]}.down_filter"].ndim == 2,
            filter_size=filter_size,
            channels=widths[-1],
        )

    return assemble(make, generator_names(layers, mapping["layers"]), state)


def generator_usage(generator: Any) -> Usage:
    return synthesis_usage(generator, len(generator.base.weight))


def generator_example() -> State:
    signals = signals_of_layers((16, 16), 3, critical=1, margin=1)
    widths = widths_of_layers(signals, channel_max=4)
    generator = stylegan3_generator(
        StyleMapping(4, style=4, layers=1), signals, widths, critical=1, radial=True, kernel=1, filter_size=2
    )
    layers = [
        (f"synthesis.L{number}_{signal.size[0]}_{width}", signal.size[0])
        for number, (signal, width) in enumerate(zip(signals, [*widths, 3], strict=True))
    ]
    return rename_modules(generator.state_dict(), generator_names(layers, 1))


GENERATOR = Architecture(
    "NVIDIA",
    "StyleGAN3 Generator",
    is_generator,
    build_generator,
    generator_example,
    generator_usage,
    files="configurations T and R of all sizes, widths, depths and classes; `.pkl` and state dicts",
)

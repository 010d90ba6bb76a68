"""A small network of each architecture of public checkpoints, with its published names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gan_tasks.export.formats.basicsr import to_basicsr
from gan_tasks.export.formats.jy import to_jy
from gan_tasks.networks.discriminators import (
    MultiScaleDiscriminator,
    PatchDiscriminator,
    SNPatchDiscriminator,
    UNetDiscriminator,
)
from gan_tasks.networks.inpainting.deepfill import deepfill_v2
from gan_tasks.networks.inpainting.lama import Lama, fourier_resnet
from gan_tasks.networks.inpainting.migan import MiGan, blur_of_each
from gan_tasks.networks.patch_projection import PatchProjection
from gan_tasks.networks.stylization import Decoder, Encoder
from gan_tasks.networks.super_resolution.convolutional import msr_resnet, rrdb, srvgg
from gan_tasks.networks.super_resolution.dat import BlockSize, GroupSize, Window, dat
from gan_tasks.networks.super_resolution.hat import hat
from gan_tasks.networks.super_resolution.omnisr import omnisr
from gan_tasks.networks.super_resolution.real_cugan import RealCugan, Widths
from gan_tasks.networks.super_resolution.realplksr import realplksr
from gan_tasks.networks.super_resolution.span import span
from gan_tasks.networks.super_resolution.swinir import swinir
from gan_tasks.networks.super_resolution.windows import window_positions
from gan_tasks.networks.translation import resnet, unet
from gan_tasks.pretrained.conversion import rename_modules
from gan_tasks.pretrained.files.unwrap import VARIANT_MARKER
from gan_tasks.pretrained.inpainting import deepfill
from gan_tasks.pretrained.inpainting.lama import lama_names
from gan_tasks.pretrained.inpainting.migan import migan_names
from gan_tasks.pretrained.stylization.adain import DECODER_LAYERS, ENCODER_LAYERS, PARTS, names_of
from gan_tasks.pretrained.super_resolution import esrgan
from gan_tasks.pretrained.super_resolution.dat import dat_names
from gan_tasks.pretrained.super_resolution.omnisr import omnisr_names
from gan_tasks.pretrained.super_resolution.swinir import FIRST_BLOCK, frame_names
from gan_tasks.pretrained.translation import cut, jy, pix2pixhd

State = Mapping[str, Tensor]


def published_networks() -> dict[str, State]:
    """Return the state dicts of the networks by short names."""
    return {**translators(), **upscalers(), **transformers(), **inpainters(), **stylizers(), **discriminators()}


def published(network: nn.Module, names: Mapping[str, str]) -> dict[str, Tensor]:
    return rename_modules(network.state_dict(), names)


def translators() -> dict[str, State]:
    affine = resnet(3, 3, width=2, blocks=2, norm="affine-instance")
    sampler = {f"mlps.{i}.{layer}": f"mlp_{i}.{layer}" for i in range(2) for layer in (0, 2)}
    return {
        "unet": to_jy(unet(3, 3, width=2, downs=5)),
        "resnet": to_jy(resnet(3, 3, width=2, blocks=2)),
        "hd": to_jy(resnet(3, 3, width=2, downs=3, blocks=2)),
        "cut": to_jy(resnet(3, 3, width=2, blocks=2, upsampling="bilinear", anti_alias=True)),
        "cut-sampler": published(PatchProjection((3, 2), width=4), sampler),
        "vintagify": published(affine, jy.resnet_names(2, 2, dropout=False, block="block")),
    }


def upscalers() -> dict[str, State]:
    plk = partial(realplksr, width=4, blocks=1, kernel=3, scale=2)
    return {
        "rrdb": to_basicsr(rrdb(3, 3, scale=4, width=4, growth=2, blocks=1)),
        "srvgg": to_basicsr(srvgg(3, 3, scale=2, width=4, convs=1)),
        "msrresnet": to_basicsr(msr_resnet(3, 3, scale=4, width=4, blocks=1)),
        "span": to_basicsr(span(3, 3, scale=2, width=4, blocks=1)),
        "realplksr": to_basicsr(plk()),
        "realplksr-dysample": to_basicsr(plk(norm="group", dysample_groups=3)),
        "cugan": {**RealCugan(scale=4, widths=Widths(8, 8, 8, 8)).state_dict(), VARIANT_MARKER: torch.zeros(1)},
    }


def transformers() -> dict[str, State]:
    frame: dict[str, Any] = {"width": 4, "depths": (2,), "heads": (2,), "window": 2, "hidden": 4, "features": 4}
    groups = (GroupSize(2, 1, 2),)
    dual = dat(scale=2, groups=groups, block=BlockSize(32, 4, Window(2, 4), True), tail_width=4)
    positions = f"{FIRST_BLOCK}.attn.relative_position_index"
    return {
        "omnisr": published(omnisr(width=4, groups=1, window=2, scale=2), omnisr_names(1, 1)),
        "dat": {
            **published(dual, dat_names(list(groups), bottleneck=False, ups=1, is_direct=False)),
            "layers.0.blocks.0.attn.attns.0.rpe_biases": torch.tensor([[0.0, 0.0], [1.0, 3.0]]),
        },
        "hat": published(hat(**frame, scale=2, larger=4, compressed=2, squeezed=1), frame_names("pixelshuffle", 2)),
        "swinir": {
            **published(swinir(**frame, scale=2), frame_names("pixelshuffle", 2)),
            positions: window_positions(2, torch.device("cpu")),
        },
    }


def inpainters() -> dict[str, State]:
    fourier = fourier_resnet(4, 3, widths=[2, 4, 8], blocks=1, of_global=4, last=nn.Sigmoid())
    blur = {"synthesis.b8.upsample.filter.weight": 4 * blur_of_each(torch.zeros(1, 3, 1, 1)).clone()}
    return {
        "deepfill": published(deepfill_v2(3, width=8), deepfill.generator_names(deepfill.NESTED)),
        "deepfill-flat": published(deepfill_v2(3, width=8, tensorflow=True), deepfill.generator_names(deepfill.FLAT)),
        "lama": published(Lama(fourier), lama_names(2, 1)),
        "migan": {**published(MiGan(3, [2, 2]), migan_names(2)), **blur},
    }


def stylizers() -> dict[str, State]:
    encoder, decoder = Encoder((2, 2, 2, 2)), Decoder(2, (2, 2, 2))
    halves = (
        published(encoder, names_of(encoder, ENCODER_LAYERS)),
        published(decoder, names_of(decoder, DECODER_LAYERS)),
    )
    both = {f"{part}{key}": tensor for part, half in zip(PARTS, halves, strict=True) for key, tensor in half.items()}
    return {"adain": both, "adain-encoder": halves[0], "adain-decoder": halves[1]}


def discriminators() -> dict[str, State]:
    spectral = published(SNPatchDiscriminator(5, width=4), deepfill.discriminator_names())
    multiscale = MultiScaleDiscriminator(lambda: PatchDiscriminator(3, width=2, layers=1, padding=2), scales=2)
    blurring = to_cut(PatchDiscriminator(3, width=2, layers=2, norm="instance", anti_alias=True))
    return {
        "patch": published(PatchDiscriminator(3, width=2), jy.patch_names(3, ours="", published="model.")),
        "pixel": published(
            PatchDiscriminator(3, width=2, layers=1, padding=0, kernel=1, head_bias=False),
            jy.patch_names(1, ours="", published="net."),
        ),
        "cut-discriminator": blurring,
        "multiscale": published(multiscale, pix2pixhd.multiscale_names(2, 1, features=True)),
        "unet-discriminator": published(UNetDiscriminator(3, width=2), esrgan.unet_discriminator_names()),
        "deepfill-discriminator": {key: tensor for key, tensor in spectral.items() if not key.endswith("_v")},
    }


def to_cut(discriminator: PatchDiscriminator) -> dict[str, Tensor]:
    """Return the tensors of CUT's discriminator of two layers. It has the filters of its blurs too."""
    state = published(discriminator, cut.patch_names(2))
    filters = {f"model.{layer}.filt": cut.PUBLISHED_DOWN.repeat(width, 1, 1, 1) for layer, width in ((2, 2), (6, 4))}
    return {**state, **filters}


def repeated(state: State, number: int, times: int, most: int) -> dict[str, Tensor]:
    """Add tensors whose names count on from 0 in one of the numbers, the first, the second …"""
    numbered: dict[tuple[str, str], Tensor] = {}
    for key, tensor in state.items():
        places = list(re.finditer(r"\d+", key))
        if len(places) > number:
            start, end = places[number].span()
            numbered.setdefault((key[:start], key[end:]), tensor)
    added = {f"{before}{i}{after}": tensor for i in range(times) for (before, after), tensor in numbered.items()}
    return dict([*state.items(), *added.items()][:most])

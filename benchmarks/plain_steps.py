"""The training steps of the papers, written as plainly as possible: what `train_step.py` compares with.

Eager, float32, NCHW, torch's own layers and its default Adam, one forward pass of each generator on each image that
it needs, and no gradients for D's weights in the step of G. They do no unnecessary work: no gradient norms, no guards
against NaN, no logging, no image pool and no average of the weights, all of which the steps of gan-tasks include.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.datasets.inpainting import Masked
from gan_tasks.datasets.paired import Pair
from gan_tasks.datasets.super_resolution import LowRes
from gan_tasks.datasets.unpaired import Unpaired
from gan_tasks.networks import layers
from gan_tasks.networks.discriminators import PatchDiscriminator, SNPatchDiscriminator
from gan_tasks.networks.inpainting.deepfill import deepfill_v2
from gan_tasks.networks.super_resolution.convolutional import rrdb, srvgg
from gan_tasks.networks.translation import resnet, unet

Step = Callable[[Any], None]


def use_layers_of_pytorch() -> None:
    """Compute all networks of this process with PyTorch's own forms of their layers."""
    layers.has_own_form = lambda x: False


def adam(network: nn.Module, lr: float = 2e-4, betas: tuple[float, float] = (0.5, 0.999)) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), lr=lr, betas=betas)


def pix2pix(device: torch.device) -> Step:
    """Isola et al. 2017: U-Net-256 and a patch discriminator."""
    return pix2pix_step(unet(3, 3).to(device), PatchDiscriminator(6).to(device), device)


def pix2pix_step(g: nn.Module, d: nn.Module, device: torch.device) -> Step:
    """Return the step of pix2pix that trains these two networks."""
    adam_g, adam_d = adam(g), adam(d)
    bce = functional.binary_cross_entropy_with_logits

    def step(x: Pair[Tensor]) -> None:
        source, target = x.source.to(device), x.target.to(device)
        fake = g(source)
        d.requires_grad_(True)
        adam_d.zero_grad()
        on_fake = d(torch.cat([source, fake.detach()], 1))[-1]
        on_real = d(torch.cat([source, target], 1))[-1]
        loss = bce(on_fake, torch.zeros_like(on_fake)) + bce(on_real, torch.ones_like(on_real))
        (loss * 0.5).backward()
        adam_d.step()
        d.requires_grad_(False)
        adam_g.zero_grad()
        on_fake = d(torch.cat([source, fake], 1))[-1]
        (bce(on_fake, torch.ones_like(on_fake)) + 100 * functional.l1_loss(fake, target)).backward()
        adam_g.step()

    return step


def cyclegan(device: torch.device) -> Step:
    """Zhu et al. 2017: two ResNet-9 and two patch discriminators, G before D, without an image pool."""
    generators = nn.ModuleList(resnet(3, 3).to(device) for _ in "ab")
    discriminators = nn.ModuleList(PatchDiscriminator(3, norm="instance").to(device) for _ in "ab")
    (to_b, to_a), (d_a, d_b) = generators, discriminators
    adam_g, adam_d = adam(generators), adam(discriminators)
    l1 = functional.l1_loss

    def squares(logits: Tensor, target: float) -> Tensor:
        return functional.mse_loss(logits, torch.full_like(logits, target))

    def step(x: Unpaired[Tensor]) -> None:
        a, b = x.a.to(device), x.b.to(device)
        fake_b, fake_a = to_b(a), to_a(b)
        discriminators.requires_grad_(False)
        adam_g.zero_grad()
        loss = squares(d_b(fake_b)[-1], 1) + squares(d_a(fake_a)[-1], 1)
        loss = loss + 10 * l1(to_a(fake_b), a) + 10 * l1(to_b(fake_a), b)
        loss = loss + 5 * l1(to_b(b), b) + 5 * l1(to_a(a), a)
        loss.backward()
        adam_g.step()
        discriminators.requires_grad_(True)
        adam_d.zero_grad()
        for d, real, fake in ((d_a, a, fake_a), (d_b, b, fake_b)):
            (0.5 * (squares(d(real)[-1], 1) + squares(d(fake.detach())[-1], 0))).backward()
        adam_d.step()

    return step


def cut(device: torch.device) -> Step:
    """Park et al. 2020: an anti-aliased ResNet-9 and patch discriminator, PatchNCE also of B and its output."""
    return cut_step(device, fast=False)


def fastcut(device: torch.device) -> Step:
    """FastCUT, Park et al. 2020: PatchNCE of A and its output alone, of which half are mirrored."""
    return cut_step(device, fast=True)


def cut_step(device: torch.device, *, fast: bool) -> Step:
    g = resnet(3, 3, anti_alias=True, upsampling="bilinear").to(device)
    d = PatchDiscriminator(3, norm="instance", anti_alias=True).to(device)
    tapped, widths = (0, 4, 8, 12, 16), (3, 128, 256, 256, 256)
    mlps = nn.ModuleList(nn.Sequential(nn.Linear(c, 256), nn.ReLU(), nn.Linear(256, 256)) for c in widths).to(device)
    adam_g, adam_d = adam(nn.ModuleList([g, mlps])), adam(d)
    layers = g.encoder_layers()[: max(tapped) + 1]

    def patches(x: Tensor, flip: bool, places: list[Tensor]) -> list[Tensor]:
        """Return the vectors of patches for each layer; draws their places if there are none yet."""
        found: list[Tensor] = []
        for number, layer in enumerate(layers):
            x = layer(x)
            if number in tapped:
                rows = (x.flip(3) if flip else x).permute(0, 2, 3, 1).flatten(1, 2)
                if len(places) == len(found):
                    places.append(torch.randperm(rows.shape[1], device=device)[:256])
                vectors = mlps[len(found)](rows[:, places[len(found)]].flatten(0, 1))
                found.append(vectors / (vectors.norm(dim=1, keepdim=True) + 1e-7))
        return found

    def contrast(source: Tensor, output: Tensor, flip: bool = False) -> Tensor:
        places: list[Tensor] = []
        with torch.no_grad():
            keys = patches(source, False, places)
        total = torch.zeros((), device=device)
        for query, key in zip(patches(output, flip, places), keys, strict=True):
            logits = query @ key.T / 0.07
            total = total + functional.cross_entropy(logits, torch.arange(len(logits), device=device))
        return total / len(tapped)

    def squares(logits: Tensor, target: float) -> Tensor:
        return functional.mse_loss(logits, torch.full_like(logits, target))

    def step(x: Unpaired[Tensor]) -> None:
        a, b = x.a.to(device), x.b.to(device)
        flip = fast and bool(torch.rand(()) < 0.5)
        if fast:
            fake, same = g(a.flip(3) if flip else a), None
        else:
            fake, same = g(torch.cat([a, b])).chunk(2)
        d.requires_grad_(True)
        adam_d.zero_grad()
        (0.5 * (squares(d(fake.detach())[-1], 0) + squares(d(b)[-1], 1))).backward()
        adam_d.step()
        d.requires_grad_(False)
        adam_g.zero_grad()
        loss = squares(d(fake)[-1], 1)
        if same is None:
            loss = loss + 10 * contrast(a, fake, flip)
        else:
            loss = loss + 0.5 * (contrast(a, fake) + contrast(b, same))
        loss.backward()
        adam_g.step()

    return step


def compact(device: torch.device) -> Step:
    """Real-ESRGAN's SRVGG with 16 convolutions, enlarging four times, with the pixel loss alone."""
    g = srvgg(3, 3, scale=4, width=64, convs=16).to(device)
    adam_g = adam(g, betas=(0.9, 0.99))

    def step(x: LowRes[Tensor]) -> None:
        low, high = ((each.to(device) + 1) / 2 for each in x)
        adam_g.zero_grad()
        functional.l1_loss(g(low), high).backward()
        adam_g.step()

    return step


def esrgan(device: torch.device) -> Step:
    """Wang et al. 2018, adversarial stage without the perceptual loss: RRDB-23, relativistic average, G before D."""
    g = rrdb(3, 3, scale=4, width=64, growth=32, blocks=23).to(device)
    d = PatchDiscriminator(3, norm="none", spectral=True).to(device)
    adam_g, adam_d = (adam(each, 1e-4, (0.9, 0.99)) for each in (g, d))

    def against(logits: Tensor, others: Tensor, target: float) -> Tensor:
        centred = logits - others.mean()
        return functional.binary_cross_entropy_with_logits(centred, torch.full_like(centred, target)) / 2

    def step(x: LowRes[Tensor]) -> None:
        low, high = ((each.to(device) + 1) / 2 for each in x)
        fake = g(low)
        d.requires_grad_(False)
        adam_g.zero_grad()
        with torch.no_grad():
            on_real = d(high)[-1]
        on_fake = d(fake)[-1]
        loss = against(on_fake, on_real, 1) + against(on_real, on_fake, 0)
        (0.005 * loss + 0.01 * functional.l1_loss(fake, high)).backward()
        adam_g.step()
        d.requires_grad_(True)
        adam_d.zero_grad()
        on_fake, on_real = d(fake.detach())[-1], d(high)[-1]
        (against(on_real, on_fake, 1) + against(on_fake, on_real, 0)).backward()
        adam_d.step()

    return step


def inpainting(device: torch.device) -> Step:
    """Yu et al. 2019: DeepFill v2 with SN-PatchGAN and the hinge loss."""
    g, d = deepfill_v2(3).to(device), SNPatchDiscriminator(4).to(device)
    adam_g, adam_d = adam(g, 1e-4), adam(d, 1e-4)

    def step(x: Masked[Tensor]) -> None:
        image, mask = x.image.to(device), x.mask.to(device)
        coarse, refined = g.stages(image, mask)
        fake = torch.lerp(image, refined, mask)
        d.requires_grad_(True)
        adam_d.zero_grad()
        on_fake, on_real = (d(torch.cat([mask, each], 1))[-1] for each in (fake.detach(), image))
        ((functional.relu(1 - on_real).mean() + functional.relu(1 + on_fake).mean()) / 2).backward()
        adam_d.step()
        d.requires_grad_(False)
        adam_g.zero_grad()
        loss = functional.l1_loss(coarse, image) + functional.l1_loss(refined, image)
        (loss - d(torch.cat([mask, fake], 1))[-1].mean()).backward()
        adam_g.step()

    return step

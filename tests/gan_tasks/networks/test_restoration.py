"""Networks of restoration: identity at the start, nothing changed where nothing is found, and how far they see."""

from __future__ import annotations

import torch

from gan_tasks.networks.restoration.restorer import FOUND, SURE, Mender, corrector


def test_a_new_corrector_changes_nothing() -> None:
    image = torch.rand(1, 3, 19, 22) * 2 - 1
    assert torch.equal(corrector(3, width=4, blocks=(1, 1, 1))(image), image)


def test_a_pixel_stays_exactly_as_it_is_where_nothing_is_found_and_is_replaced_where_damage_is_sure() -> None:
    torch.manual_seed(0)
    mender = Mender(3, width=4, blocks=(1, 1, 1)).eval()
    torch.nn.init.normal_(mender.frame.head[-2].weight, std=0.5)  # type: ignore[index, union-attr, arg-type]
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        mended, output = mender.mend(image), mender(image)
    probability = torch.sigmoid(mended.logits).expand_as(image)
    is_clean, is_sure = probability <= FOUND, probability >= SURE
    assert is_clean.any() and is_sure.any() and not (is_clean | is_sure).all()
    assert torch.equal(output[is_clean], image[is_clean])
    torch.testing.assert_close(output[is_sure], mended.fill[is_sure])
    unsure = ~(is_clean | is_sure)
    between = (output - image)[unsure] / (mended.fill - image)[unsure]
    assert ((between > 0) & (between < 1)).all()


def test_nothing_beyond_the_receptive_field_decides_a_pixel() -> None:
    torch.manual_seed(0)
    network = corrector(3, width=2, blocks=(1, 1, 1)).double().eval()
    for weight in network.parameters():
        torch.nn.init.uniform_(weight, 0.1, 0.2)
    radius, middle = network.receptive_field, 96
    reached = 0
    for pixel in range(middle, middle + 8):  # at each place of the grid
        image = torch.rand(1, 3, 24, 192, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(network(image)[..., pixel].sum(), image)
        columns = gradient.abs().sum((0, 1, 2)).nonzero()[:, 0]
        reached = max(reached, int((columns - pixel).abs().max()))
    assert radius - 8 <= reached <= radius

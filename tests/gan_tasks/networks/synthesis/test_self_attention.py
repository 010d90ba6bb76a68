"""Self-attention against the written-out definition, in a generator of the frame, and exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.networks.synthesis.frame import Stage
from gan_tasks.networks.synthesis.self_attention import AttentiveStage, SelfAttention, with_attention


def attention_of(channels: int, *, spectral: bool = False) -> SelfAttention:
    torch.manual_seed(0)
    block = SelfAttention(channels, spectral=spectral)
    block.gamma.data.fill_(0.7)
    return block.double()


def written_out(block: SelfAttention, x: Tensor) -> Tensor:
    """One position after the other."""
    query, key, value, output = (
        conv.weight[:, :, 0, 0] for conv in (block.query, block.key, block.value, block.output)
    )
    y = x.clone()
    n, _, height, width = x.shape

    def pooled(matrix: Tensor, image: Tensor) -> list[Tensor]:
        return [
            torch.stack([matrix @ image[:, i + a, j + b] for a in (0, 1) for b in (0, 1)]).amax(dim=0)
            for i in range(0, height, 2)
            for j in range(0, width, 2)
        ]

    for sample in range(n):
        keys, values = pooled(key, x[sample]), pooled(value, x[sample])
        for i in range(height):
            for j in range(width):
                q = query @ x[sample, :, i, j]
                scores = torch.stack([(q * k).sum() for k in keys])
                weights = scores.exp() / scores.exp().sum()
                mean = sum(weight * v for weight, v in zip(weights, values, strict=True))
                y[sample, :, i, j] += 0.7 * (output @ mean)
    return y


@pytest.mark.parametrize(("channels", "size"), [(16, (4, 4)), (4, (2, 6))])
def test_the_block_is_its_definition(channels: int, size: tuple[int, int]) -> None:
    block, x = attention_of(channels), torch.randn(2, channels, *size, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(block(x), written_out(block, x))
    assert block.query.out_channels == max(1, channels // 8)


def test_a_new_block_changes_nothing_and_learns_from_its_first_step() -> None:
    block, x = SelfAttention(8), torch.randn(1, 8, 4, 4)
    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    assert block.gamma.grad is not None and block.gamma.grad != 0


class Doubling(Stage):
    styles = 2

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        assert styles.shape[1] == 2
        return functional.interpolate(x, scale_factor=2.0) * styles.mean()


def test_a_stage_stays_a_stage_with_its_styles_and_noise_and_any_module_can_have_attention() -> None:
    stage = with_attention(Doubling(), 8)
    assert isinstance(stage, Stage) and isinstance(stage, AttentiveStage) and stage.styles == 2
    x, styles = torch.randn(1, 8, 4, 4), torch.randn(1, 2, 3)
    assert torch.equal(stage(x, styles), Doubling()(x, styles))
    stage.attention.gamma.data.fill_(1.0)
    assert not torch.allclose(stage(x, styles), Doubling()(x, styles))
    of_discriminator = with_attention(nn.Conv2d(3, 8, 3, stride=2, padding=1), 8, spectral=True)
    assert not isinstance(of_discriminator, Stage)
    assert of_discriminator(torch.randn(1, 3, 8, 8)).shape == (1, 8, 4, 4)


def test_the_block_is_exported(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    block = attention_of(16, spectral=True).float().eval()
    file, x = tmp_path / "attention.onnx", torch.randn(2, 16, 4, 6)
    torch.onnx.export(block, (x,), file, input_names=["x"], dynamo=True, verbose=False)
    (y,) = onnxruntime.InferenceSession(file).run(None, {"x": x.numpy()})
    np.testing.assert_allclose(y, block(x).detach().numpy(), atol=1e-4)

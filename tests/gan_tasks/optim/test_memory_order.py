"""Updates of weights in any memory layout, against PyTorch's form that is not fused."""

import pytest
import torch

from gan_tasks.optim.optimizers import OptimisationConfig, make_optimizer

ROWS, LAST = torch.contiguous_format, torch.channels_last


@pytest.mark.parametrize("kind", ["adam", "adamw"])
@pytest.mark.parametrize("of_gradient", [ROWS, LAST])
@pytest.mark.parametrize("of_weight", [ROWS, LAST])
def test_an_update_does_not_depend_on_the_layout(
    of_weight: torch.memory_format, of_gradient: torch.memory_format, kind: str
) -> None:
    layer = torch.nn.Conv2d(6, 5, 3).double().to(memory_format=of_weight)  # type: ignore[call-overload]
    other = torch.nn.Conv2d(6, 5, 3).double()
    other.load_state_dict(layer.state_dict())
    config = OptimisationConfig(optimizer=kind, lr=0.1, betas=(0.5, 0.99), weight_decay=0.1)  # type: ignore[arg-type]
    own = make_optimizer(config, [layer], 0.1)
    simple = type(own)(other.parameters(), lr=0.1, betas=(0.5, 0.99), weight_decay=0.1, foreach=False)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        for mine, theirs in zip(layer.parameters(), other.parameters(), strict=True):
            theirs.grad = torch.randn(mine.shape, dtype=mine.dtype, generator=generator)
            mine.grad = theirs.grad.clone()
            if mine.dim() == 4:
                mine.grad = mine.grad.to(memory_format=of_gradient)
        own.step()
        simple.step()
    for mine, theirs in zip(layer.parameters(), other.parameters(), strict=True):
        assert mine.shape == theirs.shape
        assert torch.allclose(mine, theirs, rtol=1e-12)
        for name in ("exp_avg", "exp_avg_sq"):
            assert torch.allclose(own.state[mine][name], simple.state[theirs][name], rtol=1e-12)
    assert layer.weight.is_contiguous(memory_format=of_weight)

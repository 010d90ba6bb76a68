"""What training programs wrap around a network's weights: the result must be that of the bare file, to the bit."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from gan_tasks.apps.cli.commands.inspect import inspect
from gan_tasks.datasets.errors import UserError
from gan_tasks.export.formats.basicsr import to_basicsr
from gan_tasks.export.formats.jy import to_jy
from gan_tasks.networks.discriminators import PatchDiscriminator
from gan_tasks.networks.super_resolution.convolutional import srvgg
from gan_tasks.networks.translation import resnet, unet
from gan_tasks.pretrained.load import load_network, load_pretrained, read_state_dict

State = dict[str, Tensor]
Form = Callable[[State], Any]


def small_srvgg() -> State:
    return to_basicsr(srvgg(3, 3, scale=2, width=4, convs=1))


@dataclass(frozen=True)
class Bare:
    """A bare state dict, an input, and the output of its network."""

    state: State
    x: Tensor
    output: Tensor


def bare(state: State, folder: Path) -> Bare:
    x = torch.rand(1, 3, 32, 32)
    torch.save(state, folder / "bare.pth")
    return Bare(state, x, load_network(folder / "bare.pth")(x))


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bare]:
    """A network for each suffix. The names of a pix2pix U-Net begin with `model.model.`, as a wrapper's could."""
    torch.manual_seed(0)
    states = {".pth": small_srvgg(), ".safetensors": to_jy(unet(3, 3, width=2, downs=5))}
    return {suffix: bare(state, tmp_path_factory.mktemp("bare")) for suffix, state in states.items()}


def raw(state: State) -> State:
    """Weights of the same network that are not to be used."""
    return {key: tensor + 1 for key, tensor in state.items()}


def under(prefix: str, state: State) -> State:
    return {prefix + key: tensor for key, tensor in state.items()}


def discriminator() -> State:
    """A patch discriminator with the names of CycleGAN."""
    stages = PatchDiscriminator(3, width=4, layers=1, norm="batch").state_dict()
    names = {"stages.0.0": "model.0", "stages.1.0": "model.2", "stages.1.1": "model.3", "stages.2.0": "model.5"}
    return {names[key.rpartition(".")[0]] + "." + key.rpartition(".")[2]: tensor for key, tensor in stages.items()}


def thop(state: State) -> State:
    counted = {f"{key.rpartition('.')[0]}.total_ops": torch.zeros(1) for key in state}
    return state | counted | {"total_ops": torch.zeros(1), "total_params": torch.zeros(1)}


def average(state: State) -> State:
    return {"n_averaged": torch.tensor(7)} | under("module.", state)


def optimizer(state: State) -> dict[str, Any]:
    moments = {number: {"step": torch.tensor(3.0), "exp_avg": tensor} for number, tensor in enumerate(state.values())}
    return {"state": moments, "param_groups": [{"lr": 0.1, "params": list(moments)}]}


def lightning(state: State) -> dict[str, Any]:
    return {
        "epoch": 3,
        "pytorch-lightning_version": "2.1.0",
        "state_dict": state,
        "loops": {},
        "optimizer_states": [optimizer(state)],
        "lr_schedulers": [],
        "hyper_parameters": {"lr": 0.1, "betas": (0.5, 0.999)},
    }


FLAT: dict[str, Form] = {
    "torch.compile": lambda s: under("_orig_mod.", s),
    "DataParallel": lambda s: under("module.", s),
    "compile in DataParallel": lambda s: under("module._orig_mod.", s),
    "DataParallel in compile": lambda s: under("_orig_mod.module.", s),
    "twice": lambda s: under("module.module.", s),
    "compiled parts": lambda s: {key.replace(".", "._orig_mod.", 1): tensor for key, tensor in s.items()},
    "AveragedModel": average,
    "compiled AveragedModel": lambda s: {"n_averaged": torch.tensor(7)} | under("module._orig_mod.", s),
    "thop": thop,
    "Lightning model": lambda s: under("model.", s) | under("criterion.", {"weight": torch.ones(3)}),
    "Lightning generator": lambda s: under("generator.", s) | under("discriminator.", discriminator()),
    "Lightning net_g": lambda s: under("net_g.", s) | under("net_d.", discriminator()),
    "Lightning compiled": lambda s: under("generator._orig_mod.", s) | under("discriminator.", discriminator()),
    "Lightning ema_model": lambda s: under("model.", raw(s)) | under("ema_model.", average(s)),
    "ema-pytorch": lambda s: (
        under("model.", raw(s))
        | under("ema.online_model.", raw(s))
        | under("ema.ema_model.", s)
        | {"ema.initted": torch.tensor(True), "ema.step": torch.tensor(5)}
    ),
    "mmagic": lambda s: (
        under("generator.", raw(s))
        | under("generator_ema.module.", s)
        | {"generator_ema.steps": torch.tensor(5), "step_counter": torch.tensor(5)}
        | under("discriminator.", discriminator())
    ),
    "nested prefixes": lambda s: under("module.net.generator.", s),
    "LitEma": lambda s: (
        under("model.", raw(s))
        | under("model_ema.", {key.replace(".", ""): tensor for key, tensor in s.items()})
        | {"model_ema.decay": torch.tensor(0.999), "model_ema.num_updates": torch.tensor(5)}
    ),
}
NESTED: dict[str, Form] = {
    "weights": lambda s: {"weights": s},
    "net": lambda s: {"net": s},
    "netG": lambda s: {"netG": s, "netD": discriminator()},
    "another name": lambda s: {"upscaler": s},
    "nested wrappers": lambda s: {"checkpoint": {"state_dict": {"netG": s}, "epoch": 3}},
    "ema and model": lambda s: {"ema": s, "model": raw(s)},
    "model and ema": lambda s: {"model": raw(s), "ema": s},
    "model_ema and state_dict": lambda s: {"state_dict": raw(s), "model_ema": s, "optimizer": optimizer(s)},
    "params and params_ema": lambda s: {"params": raw(s), "params_ema": s},
    "empty params_ema": lambda s: {"params": s, "params_ema": {}},
    "average of a wrapper": lambda s: {"model": raw(s), "ema": {"decay": 0.999, "shadow": under("module.", s)}},
    "AveragedModel beside": lambda s: {"model": raw(s), "swa_model": average(s)},
    "the same weights twice": lambda s: {"model": s, "state_dict": under("module.", s)},
    "G and D": lambda s: {"G": s, "D": discriminator(), "G_optim": optimizer(s)},
    "G_ema": lambda s: {"G": raw(s), "G_ema": s, "D": discriminator()},
    "torch_ema": lambda s: {
        "model": raw(s),
        "ema": {"decay": 0.999, "num_updates": 7, "shadow_params": list(s.values()), "collected_params": None},
    },
    "half in a wrapper": lambda s: {"params": under("_orig_mod.", s)},
    "Lightning": lambda s: lightning(under("generator.", s) | under("discriminator.", discriminator())),
    "Lightning average": lambda s: lightning(under("net_g.", raw(s)) | under("net_g_ema.", s)),
}


def assert_same(path: Path, expected: Bare) -> None:
    assert torch.equal(load_network(path)(expected.x), expected.output)


@pytest.mark.parametrize("form", FLAT)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_prefixes_and_counters_are_removed(form: str, suffix: str, networks: dict[str, Bare], tmp_path: Path) -> None:
    content = {key: tensor.clone() for key, tensor in FLAT[form](networks[suffix].state).items()}
    save = safetensors.torch.save_file if suffix == ".safetensors" else torch.save
    save(content, tmp_path / f"n{suffix}")
    assert_same(tmp_path / f"n{suffix}", networks[suffix])


@pytest.mark.parametrize("form", NESTED)
def test_wrappers_are_removed(form: str, networks: dict[str, Bare], tmp_path: Path) -> None:
    torch.save(NESTED[form](networks[".pth"].state), tmp_path / "n.pth")
    assert_same(tmp_path / "n.pth", networks[".pth"])


def test_batch_norm_and_half_precision(tmp_path: Path) -> None:
    state = to_jy(resnet(3, 3, width=4, blocks=1, norm="batch"))
    half = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    torch.save(lightning(under("model._orig_mod.", half)), tmp_path / "n.pth")
    assert_same(tmp_path / "n.pth", bare(half, tmp_path))


def test_the_weights_that_are_used_are_named(tmp_path: Path) -> None:
    state, path = small_srvgg(), tmp_path / "n.pth"
    torch.save({"params": raw(state), "params_ema": state}, path)
    assert load_pretrained(path).weights == "params_ema, averaged (not used: params)"
    assert "weights: params_ema, averaged (not used: params)" in list(inspect(path))
    torch.save(average(state), path)
    assert load_pretrained(path).weights == "averaged"
    torch.save(state, path)
    assert load_pretrained(path).weights == ""


@pytest.mark.parametrize(
    "content",
    [
        lambda s: {"netG_A": s, "netG_B": raw(s)},
        lambda s: {"state_dict": under("G_AB.", s) | under("G_BA.", raw(s))},
        lambda s: {"a_ema": s, "b_ema": raw(s)},
        lambda s: {"model": s, "state_dict": raw(s)},
    ],
)
def test_several_generators_are_listed(content: Callable[[State], Any], tmp_path: Path) -> None:
    given = content(small_srvgg())
    torch.save(given, tmp_path / "n.pth")
    with pytest.raises(UserError, match="several networks") as raised:
        load_network(tmp_path / "n.pth")
    for name in given if len(given) > 1 else ("state_dict.G_AB", "state_dict.G_BA"):
        assert name in str(raised.value)


def test_a_discriminator_alone_is_loaded(tmp_path: Path) -> None:
    torch.save({"state_dict": under("discriminator.", discriminator())}, tmp_path / "n.pth")
    assert load_pretrained(tmp_path / "n.pth").usage is None


def test_weights_of_unknown_networks_are_selected_by_name(tmp_path: Path) -> None:
    path, ones, zeros = tmp_path / "n.pth", {"a": torch.ones(1)}, {"a": torch.zeros(1)}
    torch.save({"G": ones, "D": zeros}, path)
    assert torch.equal(read_state_dict(path)["a"], ones["a"])
    torch.save({"state_dict": zeros, "ema": ones}, path)
    assert torch.equal(read_state_dict(path)["a"], ones["a"])
    torch.save({"left": zeros, "right": ones}, path)
    with pytest.raises(UserError, match=r"several networks \(left, right\)"):
        read_state_dict(path)


def test_averages_of_torch_ema_keep_the_statistics_of_batch_norms(tmp_path: Path) -> None:
    state = to_jy(resnet(3, 3, width=4, blocks=1, norm="batch"))
    statistics = {key for key in state if key.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    changed = {key: tensor if key in statistics else tensor + 1 for key, tensor in state.items()}
    averages = [tensor for key, tensor in state.items() if key not in statistics]
    path = tmp_path / "n.pth"
    torch.save({"state_dict": changed, "ema": {"shadow_params": averages}}, path)
    assert_same(path, bare(state, tmp_path))
    assert load_pretrained(path).weights == "ema.shadow_params, averaged (not used: state_dict)"

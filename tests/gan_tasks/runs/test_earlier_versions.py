"""Runs of earlier versions, with their names of options and tensors, give the same outputs and can be resumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from tiny import tiny_task

from gan_tasks.runs.checkpoint import list_checkpoints, load_checkpoint
from gan_tasks.runs.earlier_versions import renamed_tensors
from gan_tasks.runs.folder import load_trained
from gan_tasks.training.loop import TrainConfig, resume, train

CONFIG = TrainConfig(
    device="cpu", precision="fp32", workers=0, max_steps=2, sample_every_steps=0, log_every_steps=1, quiet=True
)
EARLIER_OPTIONS = {
    "residual": "change",
    "residual_downscale": "reduce",
    "drawn_masks": "holes",
    "min_mask_ratio": "min_hole",
    "max_mask_ratio": "max_hole",
    "mask_weight": "hole_weight",
    "boundary_weight": "rim_weight",
    "channel_shuffle": "swap_colours",
}
EARLIER_MODULES = {
    ".body.": ".trunk.",
    ".dilated_branch.": ".imagining.",
    ".attention_encoder.": ".describing.",
    ".attention_decoder.": ".borrowing.",
}
RUNS = {
    "pix2pix": ("--generator", "resnet-6", "--residual", "--residual-downscale", "2"),
    "inpainting": ("--network", "deepfill-v2", "--residual", "--boundary-weight", "2", "--max-mask-ratio", "0.5"),
}


def make_earlier(run: Path) -> None:
    """Rewrite a run as an earlier version wrote it."""

    def renamed(value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {EARLIER_OPTIONS.get(name, name): renamed(each) for name, each in value.items()}

    content = json.loads((run / "config.json").read_text())
    del content["spec"]
    content["task_config"] = renamed(content["task_config"])
    (run / "config.json").write_text(json.dumps(content))
    for checkpoint in list_checkpoints(run / "checkpoints"):
        state = json.loads((checkpoint / "state.json").read_text())
        del state["position"]["sampled_step"]
        for part in state["parts"]:
            path, tensors = checkpoint / f"{part}.safetensors", {}
            for key, tensor in safetensors.torch.load_file(path).items():
                for name, earlier in EARLIER_MODULES.items():
                    key = key.replace(name, earlier)
                tensors[key] = tensor
            path.write_bytes(safetensors.torch.save(tensors))
            state["parts"][part] = path.stat().st_size
        (checkpoint / "state.json").write_text(json.dumps(state))


@pytest.mark.parametrize("name", RUNS)
def test_a_run_of_an_earlier_version_is_loaded_and_resumed(name: str, pairs: Path, tmp_path: Path) -> None:
    data = pairs / "train" / "B" if name == "inpainting" else pairs
    if name == "inpainting":
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "train").symlink_to(data)
        data = tmp_path / "photos"
    runs = [
        train(tiny_task(name, *RUNS[name]), data=data, out=tmp_path / folder, config=CONFIG)
        for folder in ("run", "earlier")
    ]
    make_earlier(runs[1])
    assert "trunk" in str(safetensors.torch.load_file(newest(runs[1]) / "generators.safetensors").keys())
    ours, theirs = (load_trained(run)[0] for run in runs)
    assert theirs.config == ours.config and theirs.spec() == ours.spec()
    for run in runs:
        resume(run, max_steps=3)
    (parts, state), (earlier_parts, earlier_state) = (load_checkpoint(newest(run)) for run in runs)
    assert state["position"]["step"] == earlier_state["position"]["step"] == 3
    for part, tensors in parts.items():
        assert tensors.keys() == earlier_parts[part].keys()
        assert all(torch.equal(tensor, earlier_parts[part][key]) for key, tensor in tensors.items())


def newest(run: Path) -> Path:
    return list_checkpoints(run / "checkpoints")[-1]


def test_only_whole_parts_of_a_key_are_renamed() -> None:
    keys = ("g.trunk.0.layers.1.weight/exp_avg", "trunk.1.bias", "RRDB_trunk.0.weight", "trunk_conv.weight")
    assert list(renamed_tensors(dict.fromkeys(keys, 0))) == [
        "g.body.0.layers.1.weight/exp_avg",
        "body.1.bias",
        *keys[2:],
    ]

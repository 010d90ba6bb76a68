"""The command line, from a person's side: what it prints, what it leaves, and how it exits."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from handmade_onnx import write_onnx
from tiny import ALL_TASKS, TINY, photo, tiny_task, write_pairs, write_run

from gan_tasks.apps.cli import main as cli
from gan_tasks.apps.cli.main import COMMANDS, main
from gan_tasks.apps.web import server
from gan_tasks.apps.web.served_models import ServedModel
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, read, write
from gan_tasks.export.load import load
from gan_tasks.export.models.torch_model import TorchModel
from gan_tasks.runs.checkpoint import save_checkpoint
from gan_tasks.spec import ModelSpec
from gan_tasks.tasks import find_task

LOOP = ("--workers", "0", "--device", "cpu", "--precision", "fp32")
BAD_INPUT = 2

every_task = pytest.mark.parametrize("task", ALL_TASKS)


def gan_tasks(*arguments: str | Path) -> int:
    """The exit code of a command, run in this process."""
    with pytest.raises(SystemExit) as exited:
        main([str(argument) for argument in arguments])
    code = exited.value.code
    assert isinstance(code, int)
    return code


def train(pairs: Path, run: Path, *options: str, task: str = "pix2pix", max_steps: int = 2) -> int:
    steps = ("--max-steps", str(max_steps))
    return gan_tasks("train", task, "--data", pairs, "--out", run, *TINY[task], *LOOP, *steps, *options)


@pytest.fixture(scope="module")
def run_folder(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps; not to be changed."""
    run = tmp_path_factory.mktemp("runs") / "run"
    assert train(pairs, run) == 0
    return run


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_terminal_shows_any_name(encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_pairs(tmp_path, train=2)
    for name in (b"caf\xe9.png", "写.png".encode()):
        (data / "train" / "A" / os.fsdecode(name)).write_bytes(b"")
    shown = {stream: io.TextIOWrapper(io.BytesIO(), encoding=encoding) for stream in ("stdout", "stderr")}
    for stream, terminal in shown.items():
        monkeypatch.setattr(sys, stream, terminal)
    gan_tasks("check", data, "--task", "pix2pix")
    for terminal in shown.values():
        terminal.flush()
    texts = [terminal.buffer.getvalue() for terminal in shown.values() if isinstance(terminal.buffer, io.BytesIO)]
    assert rb"caf\xe9" in b"".join(texts) and b"has no partner" in b"".join(texts)


# From a folder of pairs to a picture.


@every_task
def test_train_resume_evaluate_apply_inspect(
    task: str, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train(pairs, run, task=task) == 0
    said = capsys.readouterr().err
    paired = find_task(task).load()().evaluation().has_target
    found = {"pix2pix": "6 pairs", "crisp": "6 pairs", "colourisation": "6 colour photographs"}.get(task, "6 images")
    spec = load(run).spec
    takes_files = spec.use != "generate"
    assert found in said and "report.html" in said
    assert f"gan-tasks {'apply' if takes_files else 'generate'} {run}" in said

    assert gan_tasks("train", "--resume", run, "--max-steps", "4") == 0
    # The tiny colourisation begins its second stage at step 3.
    earlier = "step-00000003" if task == "colourisation" else "step-00000002"
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [earlier, "step-00000004"]
    assert (run / "report.html").is_file()
    capsys.readouterr()

    assert gan_tasks("evaluate", run, "--data", pairs, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["images"] == len(result["names"]) == 2
    metrics = {"l1", "psnr", "ssim"} if paired else set()
    if task == "inpainting":
        metrics |= {"l1_masked", "psnr_masked", "ssim_masked"}
    assert set(result["model"]) == set(result["per_image"]) == metrics
    if task == "super-resolution":
        assert set(result["baselines"]) == {"bicubic"}
    elif task == "restoration":
        assert set(result["baselines"]) == {"unchanged", "non-local means"}
    elif task == "inpainting":
        assert set(result["baselines"]) == {"harmonic fill", "Telea", "Navier–Stokes"}
    elif paired:
        assert set(result["baselines"]) == {"source itself", "mean image", "affine map of the colours"}
        # The sources are the targets' negatives: an affine map turns these back exactly, but no gray ones.
        assert task == "colourisation" or result["baselines"]["affine map of the colours"]["l1"]["mean"] < 0.01
    assert "## Results" in (run / "model-card.md").read_text() and (run / "evaluation.html").is_file()

    source = pairs / "test" / "A" / "000.png"
    if takes_files:
        check_apply(run, source, pairs, tmp_path, spec)
    else:
        capsys.readouterr()
        assert gan_tasks("apply", run, source, tmp_path / "one.png") == BAD_INPUT
        assert "use it in the web page" in capsys.readouterr().err
    capsys.readouterr()

    assert gan_tasks("inspect", run) == 0
    described = capsys.readouterr().out
    assert (
        f"run of {task}" in described
        and "Model card" in described
        and "step-00000004" in described
        and "parameters" in described
    )


def check_apply(run: Path, source: Path, pairs: Path, tmp_path: Path, spec: ModelSpec) -> None:
    """A file and a folder of them, each in its own size, and the file alone as in the folder."""
    mask = np.zeros((*read(source).pixels.shape[:2], 1), np.uint8)
    mask[5:9, 5:20] = 255
    write(tmp_path / "mask.png", Picture(mask))
    more = {"inpaint": ("--mask", tmp_path / "mask.png"), "stylize": ("--style", tmp_path / "mask.png")}
    options = more.get(spec.use, ())
    assert gan_tasks("apply", run, source, tmp_path / "one.png", *options) == 0
    assert gan_tasks("apply", run, pairs / "test", tmp_path / "all", *options) == 0
    written = sorted(path.relative_to(tmp_path / "all").as_posix() for path in (tmp_path / "all").rglob("*.png"))
    assert written == ["000.png", "001.png", "A/000.png", "A/001.png", "B/000.png", "B/001.png"]
    one = read(tmp_path / "one.png").pixels
    height, width, channels = read(source).pixels.shape
    assert one.shape == (spec.scale * height, spec.scale * width, channels)
    assert np.array_equal(one, read(tmp_path / "all" / "A" / "000.png").pixels)


def test_metadata_cannot_command_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_onnx(tmp_path / "model.onnx", model_name="name\x1b]0;owned\x07", licence="\x9b2Jfree")
    write(tmp_path / "a.png", Picture(photo(16, 16, 0)))
    for command in (("inspect", model), ("verify", model), ("apply", model, tmp_path / "a.png", tmp_path / "b.png")):
        assert gan_tasks(*command) == 0
        said = "".join(capsys.readouterr())
        assert "name\\x1b]0;owned\\x07" in said and not {"\x1b", "\x07", "\x9b"} & set(said), command


def test_a_model_card_of_a_gigabyte_is_shown_in_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", tiny_task("pix2pix"))
    (run / "model-card.md").write_bytes(b"# Card\nof \xff\n\n")
    os.truncate(run / "model-card.md", 1_000_000_000)
    assert gan_tasks("inspect", run) == 0
    *_, empty, title, text, gap, rest = capsys.readouterr().out.split("\n")[:-1]
    assert (empty, title, text, gap) == ("", "# Card", "of \ufffd", "") and rest.startswith("\\x00\\x00")


def test_the_model_card_of_an_onnx_file_is_shown_in_its_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gan_tasks("inspect", write_onnx(tmp_path / "model.onnx", model_card="# Card\nof \x1b two lines\n")) == 0
    assert capsys.readouterr().out.split("\n")[-4:] == ["", "# Card", "of \\x1b two lines", ""]


@pytest.mark.parametrize("position", [1, None, {}, {"images": "x", "skipped": 1}])
def test_a_position_of_another_form_is_not_shown(
    tmp_path: Path, position: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = save_checkpoint(tmp_path, 0, {}, {"position": position})
    assert gan_tasks("inspect", checkpoint) == BAD_INPUT
    assert "state.json" in capsys.readouterr().err


def test_tensors_are_listed_with_safetensors_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "n.safetensors"
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "gan_tasks.pretrained.load", None)
    assert gan_tasks("inspect", path) == BAD_INPUT
    assert "needs the package safetensors: python -m pip install safetensors" in capsys.readouterr().err


def test_evaluate_prints_a_table_of_model_and_baselines(
    run_folder: Path, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gan_tasks("evaluate", run_folder, "--data", pairs, "--limit", "1") == 0
    printed = capsys.readouterr().out
    for word in ("1 image of", "model", "source itself", "L1", "PSNR", "SSIM"):
        assert word in printed


def test_a_report_that_cannot_be_written_stops_before_the_measuring(
    run_folder: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "file"
    out.touch()
    assert gan_tasks("evaluate", run_folder, "--data", pairs, "--limit", "1", "--out", out / "deeper") == BAD_INPUT
    assert gan_tasks("compare", run_folder, run_folder, "--data", pairs, "--limit", "1", "--out", out) == BAD_INPUT
    assert capsys.readouterr().err.count("file is not a folder: give another folder with --out") == 2


def test_apply_to_a_folder_does_what_it_can_and_says_what_it_could_not(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "good.png", Picture(photo(20, 30, seed=0)))
    (tmp_path / "in" / "text.png").write_text("not a picture")
    assert gan_tasks("apply", run_folder, tmp_path / "in", tmp_path / "out") == BAD_INPUT
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]
    said = capsys.readouterr().err
    assert "text.png" in said and "known format" in said and "1 of 2 images" in said


def test_inspect_describes_weights_and_images(
    run_folder: Path, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = run_folder / "checkpoints" / "step-00000002"
    assert gan_tasks("inspect", checkpoint) == 0
    assert "2 images shown" in capsys.readouterr().out
    assert gan_tasks("inspect", checkpoint / "generators.safetensors") == 0
    assert "tensors" in capsys.readouterr().out
    assert gan_tasks("inspect", pairs / "train" / "A" / "000.png") == 0
    assert "40×36" in capsys.readouterr().out


def test_check_lists_the_problems_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = write_pairs(tmp_path / "pairs")
    assert gan_tasks("check", pairs, "--task", "pix2pix") == 0
    assert "no problems" in capsys.readouterr().out
    (pairs / "train" / "A" / "000.png").write_bytes(b"")
    (pairs / "test" / "B" / "001.png").unlink()
    assert gan_tasks("check", pairs, "--task", "pix2pix") == 1
    printed = capsys.readouterr().out
    assert "000.png: the file is empty" in printed and "no partner called 001" in printed


def test_check_reads_a_folder_with_the_options_of_the_task_s_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, masks = write_pairs(tmp_path / "photos"), tmp_path / "masks"
    masks.mkdir()
    mask = np.zeros((40, 36, 1), np.uint8)
    mask[5:9, 5:20] = 255
    write(masks / "000.png", Picture(mask))
    inpainting = ("check", photos, "--task", "inpainting")
    assert gan_tasks(*inpainting) == 0
    assert "masks drawn for each sample" in capsys.readouterr().out
    assert gan_tasks(*inpainting, "--masks", masks, "--mask-pairing", "random") == 0
    assert "masks picked at random from 1 " in (out := capsys.readouterr().out), out
    assert gan_tasks(*inpainting, "--masks", masks, "--mask-pairing", "stem") == 1
    printed = capsys.readouterr().out
    assert "001.png" in printed and "files with problems" in printed
    assert gan_tasks("check", photos, "--direction", "b-to-a", "--layout", "folders") == 0
    assert "b-to-a" in capsys.readouterr().out
    assert gan_tasks("check", photos, "--layout", "aligned") == 0
    assert "side by side in each file" in capsys.readouterr().out


def test_check_questions_data_that_look_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = np.random.default_rng(0).normal(0, 9, (5, 64, 96, 3))
    for number, walk in enumerate(128 + steps.cumsum(axis=2)):  # each column is like its neighbours
        for path in (f"single/{number}.png", f"equal/A/{number}.png", f"equal/B/{number}.png"):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            write(tmp_path / path, Picture(np.clip(walk, 0, 255).astype(np.uint8)))
    assert gan_tasks("check", tmp_path / "single") == 1
    assert "of 5 files" in (out := capsys.readouterr().out) and "--layout aligned" in out, out
    assert gan_tasks("check", tmp_path / "equal") == 1
    assert "source and target are the same picture in 5 of 5" in capsys.readouterr().out
    train = ("train", "pix2pix", "--data", tmp_path / "single", "--out", tmp_path / "run", "--quiet")
    assert gan_tasks(*train) == 2
    assert "look like single pictures" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_serve_hands_its_options_on(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[ServedModel] = []
    monkeypatch.setattr(server, "Service", lambda models, limits: opened.extend(models))
    monkeypatch.setattr(server, "build_app", lambda *_, **__: None)
    monkeypatch.setattr(server, "make_server", lambda *_: SimpleNamespace(run=lambda sockets: None))
    monkeypatch.setattr(server, "is_this_machine", lambda host: (_ for _ in ()).throw(KeyboardInterrupt))
    assert gan_tasks("serve", run_folder, "--port", "0", "--device", "cpu", "--max-memory", "512MB") == 130
    (served,) = opened
    assert served.model.max_memory_bytes == 512_000_000
    assert isinstance(served.model, TorchModel) and served.model.device.type == "cpu"
    assert gan_tasks("serve", run_folder, "--port", "0") == 130
    assert opened[1].model.max_memory_bytes == load(run_folder).model.max_memory_bytes != 512_000_000


def test_doctor_names_versions_and_devices(capsys: pytest.CaptureFixture[str]) -> None:
    code = gan_tasks("doctor", "--json")
    report = json.loads(capsys.readouterr().out)
    assert code == (1 if report["problems"] else 0)
    assert report["python"] == ".".join(map(str, sys.version_info[:3]))
    assert any(package["name"] == "torch" for package in report["packages"])
    assert any("CPU" in device for device in report["devices"])


@pytest.mark.slow
def test_quickstart_that_learns_nothing_says_so_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "quickstart"
    assert gan_tasks("quickstart", "--lr", "0", "--epochs", "1", "--out", out) == 1
    assert "It does not work: held-out L1" in capsys.readouterr().out
    for name in ("before-after.png", "run/report.html", "run/evaluation.json"):
        assert (out / name).is_file()
    evaluation = json.loads((out / "run" / "evaluation.json").read_text())
    best = min(metrics["l1"]["mean"] for metrics in evaluation["baselines"].values())
    assert evaluation["model"]["l1"]["mean"] > 0.85 * best


# Bad input: one clear sentence, exit code 2, nothing written.


def test_bad_input_is_answered_in_a_sentence(
    run_folder: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, text, out = tmp_path / "missing", tmp_path / "text.png", tmp_path / "out"
    misnamed = tmp_path / "model.onx"
    misnamed.touch()
    weights_file = tmp_path / "weights" / "net.pth"
    weights_file.parent.mkdir()
    weights_file.touch()
    text.write_text("not a picture")
    photo_file = pairs / "test" / "A" / "000.png"
    weights = ("--perceptual", "10", "--perceptual-weights")
    commands: list[tuple[tuple[str | Path, ...], str]] = [
        (("train", "pix2pix", "--data", missing, "--out", out), "is not a folder"),
        (("train", "pix2pix", "--data", run_folder, "--out", out), "holds no train pairs"),
        (("train", "pix2pix", "--data", pairs, "--out", run_folder), "holds a run already"),
        (("train", "pix2pix", "--data", pairs, "--out", out, "--crop-size", "0", "5"), "crop_size"),
        (("train", "pix2pix", "--data", pairs, "--out", out, "--device", "tpu"), "unknown device"),
        (("train", "pix2pix", "--data", pairs, "--out", out, "--schedule", "plateau"), "put some into val/"),
        (("train", "pix2pix", "--data", pairs, "--out", out, *weights, missing), "there is no file"),
        (("train", "nothing", "--data", pairs, "--out", out), "no task is called 'nothing'"),
        (("train", "--resume", pairs), "is not a run folder"),
        (("train", "--resume", missing), "is not a run folder"),
        (("evaluate", pairs, "--data", pairs), "`gan-tasks train --out`"),
        (("evaluate", missing, "--data", pairs), "`gan-tasks train --out`"),
        (("evaluate", run_folder, "--data", pairs, "--split", "val"), "holds no val pairs"),
        (("evaluate", run_folder, "--data", pairs, "--masks", pairs), "pix2pix has no masks"),
        (("compare", run_folder, run_folder, "--data", pairs, "--min-mask-ratio", "0.1"), "pix2pix has no masks"),
        (("apply", run_folder, missing, out), "does not exist"),
        (("apply", run_folder, photo_file, photo_file), "would replace its own input"),
        (("apply", run_folder, text, out / "text.png"), "known format"),
        (("apply", missing, photo_file, out), "does not exist"),
        (("inspect", text), "known format"),
        (("inspect", missing), "does not exist"),
        (("check", missing), "is not a folder"),
        (("nothing",), "no command 'nothing'"),
        (("evalute",), "no command 'evalute': did you mean evaluate?"),
        (("train", "pix2pixx", "--data", pairs, "--out", out), "no task is called 'pix2pixx': did you mean pix2pix?"),
        (("train", "--data", pairs), "needs a TASK or --resume RUN"),
        (("train", "pix2pix", "--data", pairs, "--out", out, "--preset", "modren"), "did you mean modern?"),
        (
            ("train", "pix2pix", "--data", pairs, "--out", out, "--widht", "4"),
            "no option --widht: did you mean --width?",
        ),
        (("train", "pix2pix", "--data", pairs, "--out", out, "--norm", "bach"), "did you mean batch?"),
        (("train", "pix2pix", "--data", pairs), "needs --out"),
        (("evaluate", run_folder, "--data", pairs, "--task", "cycelgan"), "did you mean cyclegan?"),
        (("evaluate", run_folder, "--data", pairs, "--split", "tset"), "did you mean test?"),
        (("check", pairs, "--task", "cycelgan"), "did you mean cyclegan?"),
        (("check", pairs, "--task", "cyclegan", "--layuot", "folders"), "has no option --layuot"),
        (("apply", run_folder, photo_file, out, "--max-memory", "2 bananas"), "expected such as 2GB"),
        (("serve", run_folder, "--max-memory", "2 bananas"), "expected such as 2GB"),
        (("serve", run_folder, "--port", "0", "--device", "tpu"), "unknown device"),
        (("serve", run_folder, "--prot", "0"), "did you mean --port?"),
        (("serve", run_folder, "--port", "0", "--host", "0.0.0.0"), "give --token-file FILE"),
        (("serve", run_folder, "--token-file", "none.txt"), "the token file none.txt cannot be read"),
        (("serve", run_folder, "--max-disk", "20MB"), "at least four times --max-upload, which is 200MB"),
        (("trian", "pix2pix"), "no command 'trian': did you mean train?"),
        (("train", "--resum", run_folder), "did you mean --resume?"),
        (("train", "pix2pix", "--data", pairs, "--out", out, "--generator", "resnet9"), "did you mean resnet-9?"),
        (("train", "pix2pix", "--data", pairs, "--out", out, "--device", "cdua"), "did you mean cuda?"),
        (("apply", "realesrgan-x4", photo_file, out), "did you mean realesrgan-x4plus?"),
        (("apply", weights_file, photo_file, out, "--provider", "cpu"), "provider cpu is for .onnx files"),
        (("apply", "realesrgan-x4plus", photo_file, out, "--provider", "cpu"), "provider cpu is for .onnx files"),
        (("apply", run_folder.with_name("runn"), photo_file, out), f"did you mean {run_folder}?"),
        (("apply", run_folder, photo_file, out.with_suffix(".jgp")), "did you mean out.jpg?"),
        (("apply", misnamed, photo_file, out), "contains no model: did you mean .onnx?"),
        (("inspect", misnamed), "is none of these: did you mean .onnx?"),
        (("inspect", text, "--task-modul", "a.py"), "did you mean --task-module?"),
    ]
    for command, sentence in commands:
        code = gan_tasks(*command)
        said = capsys.readouterr()
        assert (code, sentence in said.err) == (BAD_INPUT, True), f"{command} exits {code} and says: {said.err}"
        assert "Traceback" not in said.err
        assert said.err.count("error: ") + said.err.count("not done: ") == 1, f"{command} says: {said.err}"
        assert not out.exists(), f"{command} wrote into {out}"


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "pix2pix", "--data", "a"),
        ("train", "pix2pix", "--data", "a", "--out", "b", "--no-such-option", "1"),
        ("train", "pix2pix", "--data", "a", "--out", "b", "--width", "wide"),
        ("train", "pix2pix", "--data", "a", "--out", "b", "--generator", "transformer"),
        ("evaluate", "a"),
        ("apply", "a", "b"),
        ("train",),
        (),
    ],
)
def test_a_wrong_call_exits_with_2(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert gan_tasks(*arguments) == BAD_INPUT
    said = capsys.readouterr()
    assert said.out + said.err and "Traceback" not in said.err


def test_long_words_are_cut_in_errors(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["x" * 100_000], ["inspect", "--" + "x" * 100_000], ["train", "x" * 100_000]):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert len(said) < 5_000


def test_strict_stops_before_the_first_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = write_pairs(tmp_path / "pairs")
    (pairs / "train" / "A" / "000.png").write_text("not a picture")
    assert train(pairs, tmp_path / "run", "--strict") == BAD_INPUT
    assert "000.png" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert train(pairs, tmp_path / "run", max_steps=1) == 0
    said = capsys.readouterr().err
    assert "left out: " in said and "5 pairs" in said


def test_a_checkpoint_without_one_of_its_parts_is_named(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train(pairs, run, max_steps=1) == 0
    (run / "checkpoints" / "step-00000001" / "discriminators.safetensors").unlink()
    capsys.readouterr()
    assert gan_tasks("train", "--resume", run, "--max-steps", "2") == BAD_INPUT
    assert "lacks its part discriminators.safetensors" in capsys.readouterr().err


def test_losses_that_are_not_finite_stop_the_training_with_1(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gan_tasks.tasks.pix2pix.l1", lambda output, target: (output - target).sum() / 0)
    assert train(pairs, tmp_path / "run", "--max-skipped-steps", "2", max_steps=5) == 1
    said = capsys.readouterr().err
    assert "not finite" in said and "--lr" in said and "Traceback" not in said


def test_the_traceback_is_shown_with_debug_alone() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gan_tasks.apps.cli.main", "inspect", "missing", *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    plain, debug = run(), run("--debug")
    assert plain.returncode == BAD_INPUT and plain.stderr.startswith("error: missing does not exist")
    assert debug.returncode != 0 and "Traceback" in debug.stderr and UserError.__name__ in debug.stderr


# Help.


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "train"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert gan_tasks(command, "--help") == 0
    assert "usage: gan-tasks " + command in capsys.readouterr().out


@every_task
def test_the_help_of_a_task_shows_its_options_and_those_of_the_loop(
    task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gan_tasks("train", task, "--help") == 0
    printed = capsys.readouterr().out
    for option in ("--data", "--out", "--lr", "--epochs", "--crop-size", "--seed", "--workers"):
        assert option in printed


def test_overviews_list_commands_and_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    assert gan_tasks("--help") == 0
    overview = capsys.readouterr().out
    assert gan_tasks("train", "--help") == 0
    tasks = capsys.readouterr().out
    assert [name for name in COMMANDS if name not in overview] == []
    assert [name for name in ALL_TASKS if name not in tasks] == []


@pytest.mark.parametrize(
    ("module", "extra"),
    [("torch", "train"), ("onnx.checker", "export"), ("onnxruntime", "cpu"), ("gradio", "page"), ("av", "video")],
)
def test_what_is_not_installed_is_named_with_its_remedy(
    module: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(arguments: list[str]) -> int:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(cli, "run", missing)
    with pytest.raises(SystemExit) as exited:
        cli.main(["train"])
    assert exited.value.code == 1
    assert f"gan-tasks[{extra}]" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: 9663676416 bytes"
        ),
    ],
)
def test_too_little_memory_is_a_sentence(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    from gan_tasks.apps.cli.main import explain

    assert explain(error) == BAD_INPUT
    assert "the memory does not suffice" in capsys.readouterr().err

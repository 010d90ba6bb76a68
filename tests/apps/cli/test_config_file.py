"""`gan-tasks train --config`: options in a TOML file, and the train.toml of a run, which repeats it exactly."""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tiny import ALL_TASKS, TINY

from gan_tasks.apps.cli.commands.train import TrainOptions, parse_train
from gan_tasks.apps.cli.main import main
from gan_tasks.apps.cli.options import Option, options_of, with_values
from gan_tasks.apps.cli.values import ANY_NUMBER, choices, count, elements, without_none
from gan_tasks.datasets.errors import UserError
from gan_tasks.runs.options_file import nearest_preset, options_toml
from gan_tasks.tasks import find_task
from gan_tasks.training.config import TrainConfig

LOOP = ("--workers", "0", "--device", "cpu", "--precision", "fp32", "--max-steps", "1")


def task_class_of(name: str) -> Any:
    return find_task(name).load()


def read_back(name: str, text: str, folder: Path, *more: str) -> TrainOptions:
    file = folder / "options.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    return parse_train(task_class_of(name), ["--config", str(file), "--out", "other", *more])


def refusal(text: str, tmp_path: Path, *more: str, task: str = "pix2pix") -> str:
    with pytest.raises(UserError) as refused:
        read_back(task, text, tmp_path, "--data", "in", *more)
    return str(refused.value)


# A file that somebody wrote.


def test_a_file_sets_options_and_the_command_line_overrides_them(tmp_path: Path) -> None:
    text = """
        preset = "modern"
        data = "photos"
        batch-size = 3

        ["any heading"]
        crop_size = [64, 96]
        lr = 1
        flip = false
        lr-d = "None"

        [any-heading.below-it]
        d-augment = ["colour"]
        seed = 4
    """
    options = read_back("pix2pix", text, tmp_path)
    assert (options.preset, options.data, options.out) == ("modern", Path("photos"), Path("other"))
    config = options.task
    assert config.norm == "instance"  # of the preset
    assert config.optimisation.batch_size == 3
    assert config.data.framing.crop_size == (64, 96)
    assert config.data.framing.flip is False
    assert config.optimisation.lr == 1.0 and isinstance(config.optimisation.lr, float)
    assert config.optimisation.lr_d is None
    assert config.adversarial.d_augment == ("colour",)
    assert options.loop == TrainConfig(seed=4)
    flags = ("--seed", "5", "--flip", "--data", "b", "--preset", "paper")
    changed = read_back("pix2pix", text, tmp_path, *flags)
    assert (changed.loop.seed, changed.task.data.framing.flip, changed.data) == (5, True, Path("b"))
    assert (changed.task.norm, changed.task.optimisation.batch_size) == ("batch", 3)


def test_an_option_of_a_file_may_be_out_of_range_until_the_command_line_mends_it(tmp_path: Path) -> None:
    assert "residual" in refusal("residual-downscale = 8", tmp_path)
    assert read_back("pix2pix", 'data = "in"\nresidual-downscale = 8', tmp_path, "--residual").task.residual


def test_what_a_file_gives_is_shown_as_default_in_the_help(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "options.toml").write_text("batch-size = 77")
    with pytest.raises(SystemExit) as exited:
        main(["train", "pix2pix", "--config", str(tmp_path / "options.toml"), "--help"])
    assert exited.value.code == 0
    assert "(default: 77)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("batchsize = 1", "unknown option 'batchsize': did you mean batch-size?"),
        ("[optimizer]\nbatch_sise = 1", "unknown option 'batch-sise': did you mean batch-size?"),
        ("zzz = 1", "unknown option 'zzz': expected the name of an option"),
        ("task = 'cyclegan'", "holds options of the task 'cyclegan', not of pix2pix"),
        ("config = 'other.toml'", "unknown option 'config'"),
        ("preset = 'modren'", "pix2pix has no preset 'modren': did you mean modern?"),
        ("lr = 1\n[a]\nlr = 2", "gives lr twice"),
        ("batch-size = 1\nbatch_size = 2", "gives batch_size twice"),
        ("lr = 'fast'", "is 'fast', expected a number"),
        ("width = 1.5", "is '1.5', expected a whole number"),
        ("width = [1]", "is [1], expected a whole number"),
        ("width = true", "is 'True', expected a whole number"),
        ("flip = 1", "is '1', expected true or false"),
        ("crop-size = 5", "is 5, expected 2 whole numbers"),
        ("crop-size = [5]", "takes 2 whole numbers, and got 1"),
        ("crop-size = [[5], [6]]", "is [[5], [6]], expected 2 whole numbers"),
        ("norm = 'bach'", "expected batch, instance, affine-instance or none: did you mean batch?"),
        ("lr = 2024-01-01", "expected a number"),
        ("lr = ", "is not valid TOML"),
        ("crop-size = [0, 5]", "crop_size"),
        ("a." * 30_000 + "a = 1", "expected 64,000 bytes at most, in lines of 8,000"),
        (".".join("a" * 1_000) + " = 1", "more than 20 tables within one another"),
        ("# a long file\n" * 10_000, "expected 64,000 bytes at most"),
        ("width = " + "[" * 5_000, "nested too deeply"),
        ("width = " + "9" * 5_000, "is not valid TOML"),
    ],
)
def test_a_mistake_in_a_file_is_answered_in_a_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    said = refusal(text, tmp_path)
    assert sentence in said and "\n" not in said.replace("\\n", "")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing\.toml cannot be read"):
        parse_train(task_class_of("pix2pix"), ["--config", str(tmp_path / "missing.toml")])


def test_bad_files_exit_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "options.toml").write_text("batchsize = 1")
    with pytest.raises(SystemExit) as exited:
        main(["train", "pix2pix", "--config", str(tmp_path / "options.toml"), "--data", "in", "--out", "out"])
    assert exited.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "did you mean batch-size?" in said


# The file of a run.


def repeated(name: str, config: Any, loop: TrainConfig, folder: Path, init_from: Path | None = None) -> TrainOptions:
    """The options that the train.toml of such a run gives."""
    text = options_toml(task_class_of(name)(config), loop, Path("in"), init_from)
    return read_back(name, text, folder)


@pytest.mark.parametrize("name", ALL_TASKS)
def test_the_file_of_each_preset_gives_the_same_config(name: str, tmp_path: Path) -> None:
    task_class = task_class_of(name)
    presets = {task_class.default_preset: task_class.Config(), **task_class.presets}
    for preset, config in presets.items():
        assert nearest_preset(task_class(config))[0] == preset
        options = repeated(name, config, TrainConfig(), tmp_path)
        assert (options.task, options.loop, options.preset) == (config, TrainConfig(), preset)
        assert options.data == Path("in").absolute()


def test_an_option_that_only_the_preset_sets_stays_unset(tmp_path: Path) -> None:
    preset = task_class_of("inpainting").presets["context-encoder"]
    assert preset.optimisation.lr_d is not None
    config = replace(preset, optimisation=replace(preset.optimisation, lr_d=None))
    text = options_toml(task_class_of("inpainting")(config), TrainConfig(), Path("in"))
    assert tomllib.loads(text)["preset"] == "context-encoder"
    assert read_back("inpainting", text, tmp_path).task == config


def test_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = task_class_of("inpainting").Config()
    config = replace(config, data=replace(config.data, masks=Path("masks")))
    monkeypatch.chdir(tmp_path)
    options = repeated("inpainting", config, TrainConfig(), tmp_path, init_from=Path("first"))
    assert options.task.data.masks == tmp_path / "masks"
    assert (options.data, options.init_from) == (tmp_path / "in", tmp_path / "first")


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


def values_of_type(kind: Any) -> st.SearchStrategy[Any]:
    inner, optional = without_none(kind)
    if optional:
        return st.none() | values_of_type(inner)
    if allowed := choices(inner):
        return st.sampled_from(allowed)
    if parts := elements(inner):
        if count(inner) == ANY_NUMBER:
            return st.lists(values_of_type(parts[0]), max_size=4).map(tuple)
        return st.tuples(*map(values_of_type, parts))
    return {
        bool: st.booleans(),
        int: st.integers(0, 9) | st.integers(0, 10**6) | st.integers(),
        float: st.floats(0, 1, exclude_min=True, exclude_max=True) | st.floats(allow_nan=False),
        str: NAMES,
        Path: NAMES.map(lambda name: Path("/") / name),
    }[inner]


def changes_of(options: list[Option]) -> st.SearchStrategy[dict[Any, Any]]:
    """A few options, and other values for them."""
    one = st.sampled_from(options).flatmap(lambda o: st.tuples(st.just(o.route), values_of_type(o.type)))
    return st.lists(one, min_size=1, max_size=5).map(dict)


@pytest.mark.parametrize("name", ALL_TASKS)
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(data=st.data())
def test_any_options_come_back_as_they_were(name: str, tmp_path: Path, data: st.DataObject) -> None:
    task_class = task_class_of(name)
    start = data.draw(st.sampled_from([task_class.Config(), *task_class.presets.values()]))
    try:
        config = with_values(start, data.draw(changes_of(list(options_of(start)))))
        loop = with_values(TrainConfig(), data.draw(changes_of(list(options_of(TrainConfig())))))
    except UserError:  # a number that is out of its range
        assume(False)
    options = repeated(name, config, loop, tmp_path)
    assert (options.task, options.loop) == (config, loop)


@given(value=st.floats() | st.integers() | st.booleans() | NAMES | st.lists(NAMES))
def test_values_survive_toml(value: Any) -> None:
    from gan_tasks.runs.options_file import toml_value

    read = tomllib.loads(f"key = {toml_value(value)}")["key"]
    assert type(read) is type(value)
    assert read == value or (math.isnan(read) and math.isnan(value))


def test_a_file_name_that_is_not_utf_8_survives(tmp_path: Path) -> None:
    odd = Path(b"/photos/\xff\xfe.d".decode("utf-8", "surrogateescape"))
    config = task_class_of("pix2pix").Config()
    config = replace(config, data=replace(config.data, extra_data=odd))
    assert repeated("pix2pix", config, TrainConfig(), tmp_path).task == config


@pytest.mark.parametrize("name", ALL_TASKS)
def test_a_run_is_repeated_by_its_file(
    name: str, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*arguments: str) -> None:
        with pytest.raises(SystemExit) as exited:
            main(["train", name, *arguments])
        assert exited.value.code == 0

    monkeypatch.chdir(pairs.parent)
    one, other = tmp_path / "one", tmp_path / "other"
    train("--data", pairs.name, "--out", str(one), *TINY[name], *LOOP, "--seed", "3")
    monkeypatch.chdir(tmp_path)  # the file is of use from elsewhere
    train("--config", str(one / "train.toml"), "--out", "other")
    stored, again = (json.loads((run / "config.json").read_text()) for run in (one, other))
    for part in ("task", "task_config", "train_config", "data"):
        assert stored[part] == again[part]
    written = [tomllib.loads((run / "train.toml").read_text()) for run in (one, other)]
    assert written[0] == written[1]
    weights = Path("checkpoints", "step-00000001", "generators.safetensors")
    assert (one / weights).read_bytes() == (other / weights).read_bytes()

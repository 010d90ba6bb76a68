"""Tasks of other people's code: by --task-module, by entry points, and imported. Nothing else is imported."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import TINY, tiny_task, write_run

import gan_tasks
from gan_tasks import tasks
from gan_tasks.apps.cli.main import main
from gan_tasks.datasets.errors import UserError
from gan_tasks.tasks import TASKS, find_task, own
from gan_tasks.tasks.own import import_task_modules, installed_tasks, option_for, option_of
from gan_tasks.tasks.pix2pix import Pix2Pix
from gan_tasks.training.config import TrainConfig

EXAMPLES = Path(__file__).parents[3] / "examples"
QUICK = ("--workers", "0", "--device", "cpu", "--precision", "fp32", "--max-steps", "1")
OURS = tuple(entry for entry in TASKS if entry.where.startswith("gan_tasks."))


@pytest.fixture(autouse=True)
def without_examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The list of tasks as people have it, and nothing left of the modules that a test names."""
    monkeypatch.setattr(tasks, "TASKS", OURS)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    import_task_modules([])


def example(folder: Path, name: str, *, file: str = "") -> Path:
    """A copy of examples/crisp_edges.py whose task has another name."""
    source = (EXAMPLES / "crisp_edges.py").read_text().replace('name = "crisp"', f'name = "{name}"')
    path = folder / f"{file or name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return path


def run_command(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exited:
        main([str(argument) for argument in arguments])
    assert isinstance(exited.value.code, int)
    return exited.value.code


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert run_command(*arguments) == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 1 and "Traceback" not in said
    return said


@pytest.mark.parametrize(
    ("file", "task"), [("crisp_edges", "crisp"), ("noise_to_image", "noise-to-image"), ("restyle", "restyle")]
)
def test_every_command_works_with_an_example(
    file: str,
    task: str,
    pairs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    module, run = ("--task-module", EXAMPLES / f"{file}.py"), tmp_path / "run"
    assert run_command("train", task, *module, "--data", pairs, "--out", run, *TINY[task], *QUICK) == 0
    assert " ".join(map(str, module)) in capsys.readouterr().err  # in the command that uses the model
    content = json.loads((run / "config.json").read_text())
    assert content["task_class"].startswith(f"{file}:") and content["task_file"] == str(module[1])
    assert str(module[1]) in (run / "train.toml").read_text().splitlines()[0]
    assert run_command("train", "--resume", run, *module, "--max-steps", "2") == 0
    assert run_command("evaluate", run, *module, "--data", pairs) == 0
    assert run_command(*module, "inspect", run) == 0
    assert run_command("check", pairs, "--task", task, *module) == 0
    if task == "crisp":
        assert run_command("apply", run, pairs / "test" / "A", tmp_path / "out", f"--task_module={module[1]}") == 0
    repeat = ("--config", run / "train.toml", "--out", tmp_path / "again", "--max-steps", "1")
    assert run_command("train", task, *repeat, *module) == 0


def test_a_run_never_imports_what_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither by its file nor as a module that Python would find. The refusal says which option is needed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    trap = tmp_path / "own_trap.py"
    trap.write_text("from pathlib import Path\nPath('sprung').touch()\n")
    run = write_run(tmp_path / "run", tiny_task("pix2pix"))
    content = json.loads((run / "config.json").read_text())
    named = {"task": "own-trap", "task_class": "own_trap:Trap", "task_file": str(trap)}
    (run / "config.json").write_text(json.dumps(content | named))
    checkpoint = run / "checkpoints" / "step-00000000"
    for command in (
        ("inspect", run),
        ("inspect", checkpoint),
        ("apply", run, run, "out"),
        ("apply", checkpoint, run, "out"),
        ("export", run, "m.onnx"),
        ("evaluate", run, "--data", run),
        ("compare", run, run, "--data", run),
        ("serve", run, "--port", "0"),
        ("train", "--resume", run),
    ):
        if command == ("inspect", checkpoint):  # its file tells its position without the class
            assert run_command(*command) == 0
            said = capsys.readouterr().out
        elif command[0] == "apply":
            (tmp_path / "in.png").touch()
            said = refusal(capsys, command[0], command[1], "in.png", "out.png")
        else:
            said = refusal(capsys, *command)
            assert "'own-trap'" in said
        assert "--task-module own_trap.py" in said, command
    with pytest.raises(UserError, match=r"--task-module own_trap.py.*in Python, import the class before"):
        gan_tasks.load(run)
    assert not Path("sprung").exists() and "own_trap" not in sys.modules


@pytest.mark.parametrize(
    ("where", "file", "expected"),
    [
        ("my_package.tasks:Mine", "/x/my_package/tasks.py", ("--task-module", "my_package.tasks")),
        ("mine:Mine", "/x/mine.py", ("--task-module", "/x/mine.py")),
        ("__main__:Mine", None, ()),
        ("mine:Mine", "/x/\x1b[31mred\n.py", ()),
        ("gan_tasks.tasks.pix2pix:Pix2Pix", None, ()),
    ],
)
def test_the_option_that_opens_a_run(where: str, file: str | None, expected: tuple[str, ...]) -> None:
    assert option_of(where, file) == expected


def test_a_class_that_is_imported_opens_its_run(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After training from Python, as in a notebook, and after the class was defined anew."""
    example(tmp_path, "own-imported", file="own_imported")
    monkeypatch.syspath_prepend(tmp_path)
    import own_imported  # type: ignore[import-not-found]

    config = TrainConfig(max_steps=1, workers=0, quiet=True, device="cpu")
    run = gan_tasks.train(own_imported.Crisp(width=4), data=pairs, out=tmp_path / "run", config=config)
    assert gan_tasks.load(run).spec.task == "own-imported"
    assert option_for(own_imported.Crisp) == ("--task-module", str(tmp_path / "own_imported.py"))

    class Crisp(own_imported.Crisp):  # type: ignore[misc]
        name = "own-imported"

    Crisp.__module__, Crisp.__qualname__ = "own_imported", "Crisp"
    own_imported.Crisp = Crisp
    assert find_task("own-imported").load() is Crisp


def test_a_task_with_the_name_of_another_one_is_not_trained(tmp_path: Path) -> None:
    class Mine(Pix2Pix):
        pass

    class Named(Pix2Pix):
        name = "own-named"

    class Inherited(Named):
        pass

    for task_class, name in ((Mine, "pix2pix"), (Inherited, "own-named")):
        with pytest.raises(UserError, match=rf"{task_class.__name__} has the name '{name}' .*name of its own"):
            write_run(tmp_path / "run", task_class(tiny_task("pix2pix").config))
    assert not (tmp_path / "run" / "config.json").exists()


# Modules that a command names.


def test_a_module_is_found_by_its_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder in which the command runs, inside a package, and a file whose name Python uses itself."""
    example(tmp_path / "own_package", "own-inside", file="inside")
    (tmp_path / "own_package" / "__init__.py").touch()
    odd = example(tmp_path, "own-odd", file="random")
    hyphens = example(tmp_path, "own-hyphens")
    monkeypatch.chdir(tmp_path)
    import_task_modules(["own_package.inside", str(odd), str(hyphens)])
    assert [find_task(f"own-{name}").load().name for name in ("inside", "odd", "hyphens")]
    assert "own_package" not in str(sys.modules["random"].__file__) and hasattr(sys.modules["random"], "randint")
    assert find_task("own-inside").summary == "translate pairs with crisp edges"


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("x = 1", "holds no task: it has no class that inherits"),
        ("from gan_tasks.tasks.pix2pix import Pix2Pix", "holds no task"),
        ("from gan_tasks.tasks.pix2pix import Pix2Pix\nclass Own(Pix2Pix): pass", "Own has no name of its own"),
        ("from gan_tasks.tasks.base import Task\nclass Own(Task):\n    name = 'own'", "lacks the methods build"),
        (
            "from gan_tasks.tasks.pix2pix import Pix2Pix\nclass Own(Pix2Pix): name = 'cyclegan'",
            "two tasks are called",
        ),
        ("def f(:\n", "invalid syntax, line 1 of"),
        ("import own_missing_package", "No module named 'own_missing_package', line 1 of"),
        ("x = 1\n1 / 0", "ZeroDivisionError: division by zero, line 2 of"),
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
        (
            "from gan_tasks.tasks.pix2pix import Pix2Pix\n"
            "class Own(Pix2Pix):\n    name = 'own'\n    class Config: pass",
            "Own has no Config: expected a frozen dataclass",
        ),
        (
            "from dataclasses import dataclass\nfrom gan_tasks.tasks.pix2pix import Pix2Pix\n"
            "@dataclass(frozen=True)\nclass C:\n    width: int\n"
            "class Own(Pix2Pix):\n    name = 'own'\n    Config = C",
            "give each field a default",
        ),
        (
            "from dataclasses import dataclass, field\nfrom gan_tasks.tasks.pix2pix import Pix2Pix\n"
            "@dataclass(frozen=True)\nclass C:\n    sizes: dict[str, int] = field(default_factory=dict)\n"
            "class Own(Pix2Pix):\n    name = 'own'\n    Config = C",
            "--sizes has the type dict[str, int], which gan-tasks train own cannot take",
        ),
        (
            "from __future__ import annotations\nfrom dataclasses import dataclass\n"
            "from gan_tasks.tasks.pix2pix import Pix2Pix\n"
            "@dataclass(frozen=True)\nclass C:\n    size: NotImported = 1\n"
            "class Own(Pix2Pix):\n    name = 'own'\n    Config = C",
            "the types of C cannot be read (name 'NotImported' is not defined)",
        ),
    ],
)
def test_a_module_that_cannot_be_used_is_answered_in_a_sentence(
    code: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"own_broken_{abs(hash(code))}.py"
    path.write_text(code)
    said = refusal(capsys, "train", "own", "--task-module", path, "--data", tmp_path, "--out", tmp_path / "run")
    assert sentence in said
    assert path.name in said or "C" in code


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--task-module", "own_nowhere"), "there is no module own_nowhere: give --task-module the path"),
        (("--task-module", "own.now.here"), "there is no module own.now.here"),
        (("--task-module", "nowhere/own.py"), "does not exist"),
        (("--task-module", "notes.txt"), "is not a .py file"),
        (("--task-module", "folder/"), "is not a .py file"),
        (("--task-module",), "takes a value, and got nothing"),
        (("--task-module=",), "takes a value, and got nothing"),
        (("--task-modul", "a.py"), "did you mean --task-module?"),
    ],
)
def test_a_module_that_is_not_there(
    arguments: tuple[str, ...],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").touch()
    assert sentence in refusal(capsys, "inspect", "run", *arguments)


def test_two_named_tasks_of_one_name_are_refused(tmp_path: Path) -> None:
    paths = [str(example(tmp_path / side, "own-twice", file=f"own_{side}")) for side in ("one", "other")]
    with pytest.raises(UserError, match=r"two tasks are called 'own-twice': own_other:Crisp in .*own_one:Crisp"):
        import_task_modules(paths)


def test_a_changed_class_is_told_from_a_damaged_checkpoint(pairs: Path, tmp_path: Path) -> None:
    path = example(tmp_path, "own_changed")
    import_task_modules([str(path)])
    run = tmp_path / "run"
    arguments = ("--data", pairs, "--out", run, *TINY["crisp"], *QUICK, "--task-module", path)
    assert run_command("train", "own_changed", *arguments) == 0
    changed = example(tmp_path / "new", "own_changed", file="own_changed_since")
    changed.write_text(changed.read_text().replace("blocks=6", "blocks=5"))
    import_task_modules([str(changed)])
    with pytest.raises(UserError, match=r"does not fit the network of its run .*of the task's class"):
        gan_tasks.load(run)


# Installed packages.


def install(folder: Path, package: str, entry_points: str) -> None:
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(entry_points)


def test_a_package_brings_its_task(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is imported when it is asked for. Broken packages beside it do no harm."""
    example(tmp_path, "own-installed", file="own_installed")
    install(tmp_path, "own-plugin", "[gan_tasks.tasks]\nown-installed = own_installed:Crisp\n")
    broken = {
        "own-broken": "own_not_there:Crisp",
        "own-colons": "::",
        "own-misnamed": "own_installed:Crisp",
        "own-function": "own_installed:edge_loss",
    }
    lines = [f"{name} = {where}\n" for name, where in broken.items()]
    install(tmp_path, "own-broken", "".join(["[gan_tasks.tasks]\n", *lines]))
    install(tmp_path, "own-shadow", "[gan_tasks.tasks]\npix2pix = own_not_there:Crisp\n")
    install(tmp_path, "own-damaged", "[gan_tasks.tasks]\nno equals sign\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert {"own-installed", "own-broken"} <= {entry.name for entry in installed_tasks()}
    assert run_command("train", "--help") == 0
    assert "from the package own-plugin" in capsys.readouterr().out and "own_installed" not in sys.modules
    assert find_task("pix2pix").load() is Pix2Pix

    run = tmp_path / "run"
    assert run_command("train", "own-installed", "--data", pairs, "--out", run, *TINY["crisp"], *QUICK) == 0
    assert "--task-module" not in capsys.readouterr().err
    assert run_command("inspect", run) == 0
    assert gan_tasks.load(run).spec.task == "own-installed"
    for name, sentence in {
        "own-broken": "the task own-broken of the package own-broken (own_not_there:Crisp) cannot be imported",
        "own-colons": "cannot be imported",
        "own-misnamed": "its class has the name 'own-installed', expected the name of the entry point",
        "own-function": "edge_loss is not a class that inherits from gan_tasks.tasks.base.Task",
    }.items():
        assert sentence in refusal(capsys, "train", name, "--data", pairs, "--out", tmp_path / "other", *QUICK)


def test_two_packages_with_one_task_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("own-first", "own-second"):
        install(tmp_path, package, f"[gan_tasks.tasks]\nown-both = {package.replace('-', '_')}:Task\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"2 tasks are called 'own-both': .*own-first and .*own-second"):
        find_task("own-both")
    path = example(tmp_path, "own-both", file="own_both")
    import_task_modules([str(path)])  # what is named is meant
    assert find_task("own-both").where == "own_both:Crisp"
    assert own.named_tasks().keys() == {"own-both"}

"""The content of the wheel, and that its installation and removal do not change other packages."""

import base64
import csv
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import export_tiny

from gan_tasks.datasets.images import read
from gan_tasks.export.load import load

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "gan_tasks": "gan_tasks",
    "datasets": "gan_tasks/datasets",
    "export": "gan_tasks/export",
    "apps": "gan_tasks/apps",
}
LARGEST_WITHOUT_PAGE_MB, LARGEST_WITH_PAGE_MB = 200, 350
NO_NETWORK = ("No matching distribution found", "Connection", "Temporary failure", "timed out")

pytestmark = pytest.mark.slow


def pip(*arguments: str) -> None:
    """Run pip. The test is skipped if pip cannot reach a package index."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode and any(sign in result.stderr for sign in NO_NETWORK):
        pytest.skip(f"pip cannot reach a package index: {result.stderr.strip().splitlines()[-1]}")
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the sources, because setuptools writes a build folder to the tree."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    pip("wheel", str(source), "--no-deps", "--quiet", "-w", str(out))
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_contains_each_module_once_and_only_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = Counter(archive.namelist())
    modules = {name for name in names if name.endswith(".py")}
    expected = {
        f"{package}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, package in FOLDERS.items()
        for path in (ROOT / folder).rglob("*.py")
        if path.resolve().is_relative_to(ROOT / folder)  # not through the links gan_tasks/{datasets,export,apps}
    }
    assert modules == expected
    assert set(names.values()) == {1}
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"gan_tasks"}
    assert {"gan_tasks/py.typed", "gan_tasks/metrics/niqe_own_fit.npz"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_package_of_models_contains_their_files_and_cards(tmp_path: Path) -> None:
    source, out = tmp_path / "models", tmp_path / "out"
    shutil.copytree(ROOT / "models", source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    for name in ("extra.onnx", "extra.md"):
        (source / "gan_tasks_models" / name).write_text("content")
    pip("wheel", str(source), "--no-deps", "--quiet", "-w", str(out))
    (built,) = out.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA"))
    assert names == {path.relative_to(source).as_posix() for path in (source / "gan_tasks_models").iterdir()}
    assert "Requires-Dist" not in metadata


class Environment:
    """A new virtual environment without pip. The pip of this interpreter installs into it."""

    def __init__(self, path: Path) -> None:
        venv.create(path, with_pip=False, symlinks=True)
        self.scripts = path / "bin"
        self.python = self.scripts / "python"
        self.packages = Path(sysconfig.get_path("purelib", vars={"base": str(path), "platbase": str(path)}))

    def install(self, *requirements: str) -> None:
        pip("--python", str(self.python), "install", "--quiet", "--no-compile", *requirements)

    def pip(self, *arguments: str) -> None:
        pip("--python", str(self.python), *arguments)

    def output_of(self, *command: str | Path, beside: Path | None = None) -> str:
        """Return the output of a command outside the checkout. `beside` is a folder of more packages to import."""
        environment = {**os.environ, "PYTHONPATH": str(beside or "")}
        return subprocess.run(
            command, cwd=self.scripts, env=environment, check=True, capture_output=True, text=True
        ).stdout.strip()

    def damaged_files(self, distribution: str) -> list[str]:
        """Return the missing or changed files of an installed distribution, by the hashes in its RECORD."""
        (record,) = self.packages.glob(f"{distribution}-*.dist-info/RECORD")
        damaged = []
        for name, recorded, _ in csv.reader(record.read_text().splitlines()):
            path = self.packages / name
            if not path.is_file():
                damaged.append(name)
            elif recorded:
                algorithm, expected = recorded.split("=")
                digest = hashlib.new(algorithm, path.read_bytes()).digest()
                if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != expected:
                    damaged.append(name)
        return damaged

    def megabytes(self) -> float:
        """Return the size of all files in site-packages except byte code, in 10⁶ bytes."""
        files = (path for path in self.packages.rglob("*") if path.is_file() and path.suffix != ".pyc")
        return sum(path.stat().st_size for path in files) / 1e6

    def found_at(self, module: str) -> Path:
        code = f"import importlib.util; print(importlib.util.find_spec({module!r}).origin)"
        return Path(self.output_of(self.python, "-c", code))


def test_the_wheel_does_not_change_hugging_face_datasets(wheel: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    environment.install("--no-deps", "datasets")  # its dependencies are 300 MB and not needed here
    theirs = environment.packages / "datasets" / "__init__.py"

    def assert_theirs_is_unchanged() -> None:
        assert environment.found_at("datasets") == theirs
        assert environment.damaged_files("datasets") == []

    assert_theirs_is_unchanged()
    environment.install("--no-deps", str(wheel))
    assert_theirs_is_unchanged()
    assert (
        environment.found_at("gan_tasks.datasets.images")
        == environment.packages / "gan_tasks/datasets/images/__init__.py"
    )
    environment.pip("uninstall", "--yes", "--quiet", "gan-tasks")
    assert_theirs_is_unchanged()
    assert not (environment.packages / "gan_tasks").exists()


def test_the_installed_command_runs_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    environment.install("--no-deps", str(wheel))
    dependencies = Path(sysconfig.get_path("purelib"))
    where = environment.output_of(
        environment.python, "-c", "import gan_tasks.apps.cli.main as c; print(c.__file__)", beside=dependencies
    )
    assert Path(where) == environment.packages / "gan_tasks/apps/cli/main.py"
    version = environment.output_of(environment.scripts / "gan-tasks", "--version", beside=dependencies)
    assert wheel.name.startswith(f"gan_tasks-{version}-")


def test_an_installation_without_torch_is_small_and_translates_an_image(wheel: Path, tmp_path: Path) -> None:
    skimage = pytest.importorskip("skimage", reason="the photo comes with scikit-image")
    exported = export_tiny(tmp_path, "unet-128")
    photo, result = Path(skimage.__file__).parent / "data" / "chelsea.png", tmp_path / "result.png"
    environment = Environment(tmp_path / "venv")
    environment.install(f"{wheel}[cpu]")
    assert not [name for name in ("torch", "cv2") if (environment.packages / name).exists()]
    command = environment.scripts / "gan-tasks"
    assert environment.output_of(command, "verify", exported.path).endswith("verified")
    environment.output_of(command, "apply", exported.path, photo, result)
    there, here = read(result).pixels, load(exported.path)(read(photo).pixels)
    assert there.shape == (300, 451, 3)
    assert np.abs(there.astype(int) - here).max() <= 1
    assert environment.megabytes() < LARGEST_WITHOUT_PAGE_MB
    environment.install(f"{wheel}[cpu,page]")
    assert environment.megabytes() < LARGEST_WITH_PAGE_MB

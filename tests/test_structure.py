"""The structure: imports between layers, import time, and the files of the repository."""

import ast
import importlib
import importlib.util
import json
import re
import resource
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import gan_tasks

ROOT = Path(__file__).parents[1]
LAYERS = ("datasets", "gan_tasks", "export", "apps")  # lowest first: each layer may import the layers below it
PUBLIC_MODULE = ROOT / "gan_tasks" / "__init__.py"  # the public module names parts of all layers and is exempt
LARGEST_FILE_BYTES = 6_000_000
LARGEST_HELP_CPU_SECONDS = 0.5


def sources(layer: str) -> list[Path]:
    """Return the Python files of a layer, without following the links gan_tasks/{datasets,export,apps}."""
    return [path for path in sorted((ROOT / layer).rglob("*.py")) if layer_of_file(path) == layer]


def layer_of_file(path: Path) -> str:
    return path.resolve().relative_to(ROOT).parts[0]


def layer_of_module(name: str) -> str | None:
    """Return the layer of a module by its import name; None for modules of other packages."""
    first, *rest = name.split(".")
    if first != "gan_tasks":
        return None
    return rest[0] if rest and rest[0] in LAYERS else "gan_tasks"


def imported_modules(source: str) -> Iterator[str]:
    """Yield every module that a source imports: at the top level, in functions and for type checkers."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # Keep the dots of a relative import, so that it is reported as forbidden.
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def forbidden_imports(source: str, layer: str) -> list[str]:
    allowed = LAYERS[: LAYERS.index(layer) + 1]
    through_the_public_module = {f"gan_tasks.{name}" for name in gan_tasks.__all__ if name != "__version__"}
    return [
        name
        for name in imported_modules(source)
        if name.startswith(".")
        or name.split(".")[0] in ("datasets", "export", "apps")
        or name in through_the_public_module
        or layer_of_module(name) not in (None, *allowed)
    ]


@pytest.mark.parametrize("layer", LAYERS)
def test_layers_import_only_lower_layers(layer: str) -> None:
    files = [path for path in sources(layer) if path != PUBLIC_MODULE]
    assert files
    found = {
        str(path.relative_to(ROOT)): bad for path in files if (bad := forbidden_imports(path.read_text(), layer))
    }
    assert not found, f"{layer} may import {LAYERS[: LAYERS.index(layer) + 1]} alone, by their full names"


@pytest.mark.parametrize(
    ("source", "layer"),
    [
        ("from gan_tasks.apps import cli", "export"),
        ("def f():\n    import gan_tasks.export.models.base", "gan_tasks"),
        ("from gan_tasks import export", "gan_tasks"),
        ("import gan_tasks", "datasets"),
        ("from gan_tasks import __version__", "datasets"),
        ("from gan_tasks import load", "gan_tasks"),
        ("import datasets", "gan_tasks"),
        ("from datasets.image import read", "apps"),
        ("from .model import load", "export"),
    ],
)
def test_forbidden_imports_finds_every_form_of_import(source: str, layer: str) -> None:
    assert forbidden_imports(source, layer)
    assert not forbidden_imports("from gan_tasks.datasets.images import read\nimport numpy", layer)


@pytest.mark.parametrize("folder", ["datasets", "export", "apps"])
def test_a_folder_refuses_to_be_imported_by_its_bare_name(folder: str) -> None:
    spec = importlib.util.spec_from_file_location(folder, ROOT / folder / "__init__.py")
    assert spec is not None and spec.loader is not None
    with pytest.raises(ImportError, match=f"gan_tasks.{folder}"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def modules_after(code: str) -> set[str]:
    """Return the top-level packages that a new interpreter has imported after running the code."""
    code += "\nimport json, sys\nprint(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return set(json.loads(printed.splitlines()[-1]))


HEAVY = {"torch", "kornia", "albumentations", "scipy", "skimage", "cv2"}


@pytest.mark.parametrize(
    "module",
    [
        "gan_tasks",
        "gan_tasks.tasks",
        "gan_tasks.datasets.images",
        "gan_tasks.export.models.base",
        "gan_tasks.apps.cli.main",
    ],
)
def test_light_modules_do_not_import_torch(module: str) -> None:
    imported = modules_after(f"import {module}")
    assert "gan_tasks" in imported
    assert not imported & HEAVY


def test_image_files_are_read_and_written_without_torch(tmp_path: Path) -> None:
    code = (
        "import numpy as np\nfrom pathlib import Path\nfrom gan_tasks.datasets.images import Picture, read, write\n"
    )
    for name in ("image.jpg", "image.png", "image.tif"):
        path, dtype = str(tmp_path / name), "uint8" if name == "image.jpg" else "uint16"
        code += f"write(Path({path!r}), Picture(np.zeros((8, 8, 3), np.{dtype})))\nread(Path({path!r}))\n"
    imported = modules_after(code)
    assert not imported & HEAVY


def test_help_imports_no_large_packages() -> None:
    code = "from gan_tasks.apps.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"
    assert not modules_after(code) & (HEAVY | {"numpy", "PIL", "pydantic", "safetensors"})


def test_help_takes_less_than_half_a_second() -> None:
    def cpu_seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "gan_tasks.apps.cli.main", "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # CPU time and the best of three, so that a busy machine does not fail it.
    assert min(cpu_seconds() for _ in range(3)) < LARGEST_HELP_CPU_SECONDS


def test_the_public_module_resolves_its_names() -> None:
    assert set(gan_tasks.__all__) <= {*dir(gan_tasks), *gan_tasks._HOME}
    for name, module in gan_tasks._HOME.items():
        assert getattr(gan_tasks, name) is getattr(importlib.import_module(module), name)
        # An imported submodule of the same name would replace the attribute.
        assert importlib.util.find_spec(f"gan_tasks.{name}") is None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gan_tasks.nothing


def project_files() -> list[Path]:
    """Return the files that git tracks or would track."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout: the files of the project are unknown")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def test_no_file_is_large() -> None:
    large = {
        str(path.relative_to(ROOT)): size
        for path in project_files()
        if (size := path.stat().st_size) > LARGEST_FILE_BYTES
    }
    assert not large


def test_no_file_contains_a_private_path() -> None:
    private_path = re.compile(rb"(?<![\w.$}])/(?:work|root|home|Users)/\w|[A-Z]:\\Users")
    found = {
        str(path.relative_to(ROOT)): match.group().decode()
        for path in project_files()
        if (match := private_path.search(path.read_bytes()))
    }
    assert not found


def test_links_in_the_package_point_to_the_layer_folders() -> None:
    for folder in ("datasets", "export", "apps"):
        assert (ROOT / "gan_tasks" / folder).readlink() == Path("..", folder)


def test_the_version_is_the_same_everywhere() -> None:
    in_pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest_heading = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest_heading is not None
    assert gan_tasks.__version__ == in_pyproject == newest_heading[1]

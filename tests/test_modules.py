"""The modules: how many lie in a folder, no import cycle, and no question which task it is outside the tasks."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from gan_tasks.tasks import TASKS

ROOT = Path(__file__).parents[1]
LAYERS = ("datasets", "gan_tasks", "export", "apps")
MOST_MODULES = 12
"""In a folder, beside `__init__.py`."""
TASK_NAMES = {entry.name for entry in TASKS}
INPUT_NAMES = {"mask", "sketch"}
KNOW_TASKS = ("gan_tasks/tasks/", "gan_tasks/pretrained/")
"""What may name tasks: they themselves, and what says of a public checkpoint which task's data fit it."""


def source_files() -> dict[str, Path]:
    """Every module by its import name; the links in gan_tasks/ are not followed."""
    files: dict[str, Path] = {}
    for layer in LAYERS:
        for path in sorted((ROOT / layer).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if path.resolve() == path:
                name = ".".join(parts if layer == "gan_tasks" else ("gan_tasks", *parts))
                files[name.removesuffix(".__init__")] = path
    return files


FILES = source_files()
SOURCES = {name: path.read_text(encoding="utf-8") for name, path in FILES.items()}


@cache
def named_in(source: str) -> tuple[tuple[str, str], ...]:
    """What a source imports, in functions and for type checkers too: modules, and names with their modules."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [(f"{node.module}.{alias.name}", node.module) for alias in node.names]
    return tuple(found)


def imports_of(source: str, known: Mapping[str, object]) -> set[str]:
    """The modules among `known` that a source imports."""
    return {name if name in known else module for name, module in named_in(source)} & known.keys()


def graph_of(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """What each module imports. The public module names what is above it, and is left out."""
    return {
        name: imports_of(source, sources) - {name, "gan_tasks"}
        for name, source in sources.items()
        if name != "gan_tasks"
    }


def cycle_in(graph: Mapping[str, set[str]]) -> list[str]:
    """One cycle of a graph, as the names along it; empty without one."""
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done:
            return []
        found = next((cycle for each in sorted(graph.get(name, ())) if (cycle := visit(each, (*trail, name)))), [])
        done.add(name)
        return found

    return next((cycle for name in sorted(graph) if (cycle := visit(name, ()))), [])


def contents_graph(package: str, graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The same of what lies directly in a package: modules, and sub-packages with all that is in them as one."""

    def child(name: str) -> str | None:
        return name.removeprefix(f"{package}.").split(".")[0] if name.startswith(f"{package}.") else None

    found: dict[str, set[str]] = {}
    for name, imported in graph.items():
        if own := child(name):
            found.setdefault(own, set()).update({each for other in imported if (each := child(other))} - {own})
    return found


PACKAGES = sorted(name for name, path in FILES.items() if path.name == "__init__.py")


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folder_is_crowded(package: str) -> None:
    modules = [path for path in FILES[package].parent.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= MOST_MODULES


def test_no_modules_import_one_another_in_a_circle() -> None:
    assert cycle_in(graph_of(SOURCES)) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_sub_packages_import_one_another_in_a_circle(package: str) -> None:
    graph = graph_of(SOURCES)
    children = contents_graph(package, graph)
    if package == "gan_tasks":  # the other layers, which are linked into it, have tests of their direction
        children = {name: imported - {*LAYERS} for name, imported in children.items() if name not in LAYERS}
    assert cycle_in(children) == []


@pytest.mark.parametrize(
    "planted",
    [
        {"gan_tasks.networks.blocks": "from gan_tasks.networks import backbone"},
        {"gan_tasks.networks.blocks": "def f():\n    from gan_tasks.networks.backbone import Generator"},
        {"gan_tasks.networks.blocks": "if TYPE_CHECKING:\n    import gan_tasks.networks.backbone"},
    ],
)
def test_a_planted_circle_of_modules_is_found(planted: dict[str, str]) -> None:
    cycle = cycle_in(graph_of(SOURCES | planted))
    assert {"gan_tasks.networks.blocks", "gan_tasks.networks.backbone"} <= set(cycle)


def test_a_planted_circle_of_sub_packages_is_found() -> None:
    """Of modules that form no circle: runs → tasks, and losses → runs."""
    planted = SOURCES | {"gan_tasks.losses.diff_augment": "from gan_tasks.runs.journal import Journal"}
    graph = graph_of(planted | {"gan_tasks.runs.reports.style": "from gan_tasks.losses.functional import l1"})
    assert set(cycle_in(contents_graph("gan_tasks", graph))) >= {"runs", "losses"}


# Outside the tasks nobody asks which task it is.


def questions(source: str) -> Iterator[str]:
    """Where a source compares a task's name, asks for an input by its name, or looks into a task's config."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare(left, ops, comparators):
                texts = {leaf.value for side in (left, *comparators) for leaf in ast.walk(side) if is_text(leaf)}
                if texts & TASK_NAMES:
                    yield ast.unparse(node)
                if is_text(left) and left.value in INPUT_NAMES and isinstance(ops[0], ast.In | ast.NotIn):
                    yield ast.unparse(node)
            case ast.MatchValue(ast.Constant(str(text))) if text in TASK_NAMES:
                yield f"case {text!r}"
            case ast.Dict(keys) if any(is_text(key) and key.value in TASK_NAMES for key in keys if key):
                yield ast.unparse(node)
            case ast.Attribute(ast.Attribute(owner, "config"), name) if ast.unparse(owner).endswith("task"):
                yield f"{ast.unparse(owner)}.config.{name}"
            case ast.Call(ast.Name("getattr"), [ast.Attribute(_, "config"), *_]):
                yield ast.unparse(node)
            case ast.Subscript(ast.Subscript(_, ast.Constant("task_config")), _):
                yield ast.unparse(node)


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_outside_the_tasks_nobody_asks_which_task_it_is() -> None:
    found = {
        name: asked
        for name, source in SOURCES.items()
        if not FILES[name].relative_to(ROOT).as_posix().startswith(KNOW_TASKS) and (asked := list(questions(source)))
    }
    assert not found, "read the ModelSpec, or what `Task.evaluation()` returns"


@pytest.mark.parametrize(
    "source",
    [
        'if model.name == "pix2pix": pass',
        'if task.name not in ("cyclegan", "inpainting"): pass',
        'pages = {"super-resolution": build}',
        'match name:\n    case "inpainting": pass',
        'if "mask" in model.inputs: pass',
        'if "sketch" not in inputs: pass',
        "scale = task.config.data.scale",
        "way = self.task.config.direction",
        'data = getattr(task.config, "data", None)',
        'scale = content["task_config"]["data"]',
    ],
)
def test_each_way_to_ask_is_seen(source: str) -> None:
    assert list(questions(source))

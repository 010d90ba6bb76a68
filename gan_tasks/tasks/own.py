"""Tasks of other people's code: of installed packages, of modules that a command names, and of imported classes.

Nothing here imports a module because a file names it. A module is imported if the user names it, or if the user
installed a package that declares a task of the wanted name (an entry point of the group `gan_tasks.tasks`).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gan_tasks.datasets.errors import UserError
from gan_tasks.tasks.entry import TaskEntry, import_errors, problem_of, where_of

if TYPE_CHECKING:
    from gan_tasks.tasks.base import Task

GROUP = "gan_tasks.tasks"
"""The group of the entry points, each `name = "module:class"`."""
OPTION = "--task-module"
OWN_TASK = "a task of your own"
"""The summary of a task that has none."""

_named: dict[str, TaskEntry] = {}
"""The tasks of the modules that the user named."""


# Installed packages.


def installed_tasks() -> tuple[TaskEntry, ...]:
    """Return the tasks that installed packages declare. Their code is not imported."""
    found: dict[tuple[str, str], TaskEntry] = {}
    for distribution in distributions():
        try:
            points = distribution.entry_points.select(group=GROUP)
            package = distribution.name if points else ""
        except Exception:  # the metadata of some package are damaged: the others are found all the same
            continue
        for point in points:
            where = re.sub(r"\[.*|\s", "", point.value)  # without the extras that it may name
            entry = TaskEntry(point.name, f"from the package {package}", where, package)
            found.setdefault((package, point.name), entry)
    return tuple(found[key] for key in sorted(found))


# Classes that are imported already.


def imported_tasks() -> Iterator[TaskEntry]:
    """Yield the tasks whose classes this process has imported or defined; of a class defined again the new one."""
    base = sys.modules.get("gan_tasks.tasks.base")
    if base is None:
        return
    found: dict[str, type[Task[Any, Any]]] = {}
    for task_class in subclasses(base.Task):
        where = where_of(task_class)
        if not is_ours(where) and not problem_of(task_class):
            found[where] = task_class  # the newest comes last
    yield from map(entry_of, found.values())


def subclasses(parent: type[Any]) -> Iterator[type[Any]]:
    for child in parent.__subclasses__():
        yield child
        yield from subclasses(child)


def entry_of(task_class: type[Task[Any, Any]]) -> TaskEntry:
    return TaskEntry(task_class.name, task_class.summary or OWN_TASK, where_of(task_class), "", task_class)


def is_ours(where: str) -> bool:
    return where.startswith("gan_tasks.")


# Modules that the user names.


def named_tasks() -> Mapping[str, TaskEntry]:
    """Return the tasks of `import_task_modules` by name."""
    return _named


def import_task_modules(modules: Sequence[str], *, taken: Iterable[TaskEntry] = ()) -> None:
    """Import the modules that the user names, and make their tasks those of `named_tasks`.

    Args:
        modules: paths of .py files, and names of modules, such as package.module.
        taken: tasks whose names the modules may not use for other classes.

    Raises UserError for a module that cannot be imported or holds no usable task, and for a name that two tasks have.
    """
    _named.clear()
    if modules:
        importlib.import_module("gan_tasks.tasks.base")  # where torch is missing, that is said and not their import
    others = {entry.name: entry for entry in taken}
    for text in modules:
        for task_class in tasks_in(import_module(text), text):
            entry = entry_of(task_class)
            other = _named.get(entry.name) or others.get(entry.name)
            if other is not None and other.where != entry.where:
                raise UserError(
                    f"two tasks are called {entry.name!r}: {entry.where} in {text}, and {other.where}. "
                    "Give one of the classes another `name`"
                )
            _named[entry.name] = entry


def import_module(text: str) -> ModuleType:
    """Import a .py file by its path, or a module by its name. Raises UserError if that fails."""
    is_name = all(map(str.isidentifier, text.split("."))) and not text.endswith(".py")
    if not is_name or Path(text).is_file():
        return import_file(Path(text))
    add_to_path(Path.cwd())
    try:
        spec = importlib.util.find_spec(text)
    except ModuleNotFoundError:  # a package in front of the last dot
        spec = None
    except Exception as error:
        raise UserError(f"the module {text} cannot be imported: {type(error).__name__}: {error}") from error
    if spec is None:
        hint = f": did you mean {OPTION} {text}.py?" if Path(f"{text}.py").is_file() else ""
        raise UserError(
            f"there is no module {text}{hint or f': give {OPTION} the path of a .py file, or the name of a module'}"
        )
    with import_errors(f"the module {text}"):
        return importlib.import_module(text)


def import_file(path: Path) -> ModuleType:
    """Import a file as a module of its name, so that processes which read images can import it as well."""
    if not path.is_file() or path.suffix != ".py":
        what = "is not a .py file" if path.exists() else "does not exist"
        raise UserError(f"{path} {what}: give {OPTION} the path of a .py file, or the name of a module")
    path = path.resolve()
    name = re.sub(r"\W", "_", path.stem)
    add_to_path(path.parent)
    if file_of(name) != path:  # another module has this name, such as one of Python's own
        name += f"_{hashlib.sha256(str(path).encode(errors='surrogateescape')).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # for a file that ends in .py there is a loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        with import_errors(str(path)):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def add_to_path(folder: Path) -> None:
    """Let modules in the folder be imported, after all others."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def file_of(name: str) -> Path | None:
    """Return the file of a module that is imported or could be; None for a name without a module."""
    if name in sys.modules:
        file = getattr(sys.modules[name], "__file__", None)
    else:
        importlib.invalidate_caches()
        spec = importlib.util.find_spec(name)
        file = spec.origin if spec is not None else None
    return Path(file).resolve() if file else None


def tasks_in(module: ModuleType, text: str) -> list[type[Task[Any, Any]]]:
    """Return the tasks in a module, without those of gan-tasks. Raises UserError if there is none to use."""
    from gan_tasks.tasks.base import Task

    classes = dict.fromkeys(
        each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Task)
    )
    own = [each for each in classes if not is_ours(where_of(each))]
    usable = [each for each in own if not problem_of(each)]
    if not usable:
        problem = problem_of(own[0]) if own else "it has no class that inherits from gan_tasks.tasks.base.Task"
        raise UserError(f"{text} holds no task: {problem}")
    return usable


# The option that names the module of a class.


def option_for(task_class: type[Any]) -> tuple[str, ...]:
    """Return the option of the command line with which a run of this class is opened; empty if it needs none."""
    return option_of(where_of(task_class), source_file(task_class))


def option_of(where: str, file: str | None) -> tuple[str, ...]:
    """As `option_for`, for the place and the file of a class."""
    argument = module_argument(where, file)
    if is_ours(where) or not argument or any(entry.where == where for entry in installed_tasks()):
        return ()
    return OPTION, argument


def source_file(task_class: type[Any]) -> str | None:
    """Return the absolute path of the file that defines a class; None for a notebook and for our own classes."""
    if is_ours(where_of(task_class)):
        return None
    file = getattr(sys.modules.get(task_class.__module__), "__file__", None)
    return str(Path(file).absolute()) if file else None


def module_argument(where: str, file: str | None) -> str:
    """Return what `--task-module` takes for a class: a module inside a package by its name, else its file.

    Empty for a class that was defined in no file, such as one of a notebook, and for text that cannot be shown.
    """
    module = where.partition(":")[0]
    if all(map(str.isidentifier, module.split("."))) and "." in module:
        return module
    if not file or not file.isprintable():
        return ""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)

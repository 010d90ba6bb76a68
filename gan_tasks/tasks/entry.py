"""An entry of the list of tasks, and what is checked before the class of somebody else is used. Imports no torch."""

from __future__ import annotations

import importlib
import inspect
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from gan_tasks.datasets.errors import UserError, enumerated

if TYPE_CHECKING:
    from gan_tasks.tasks.base import Task


@dataclass(frozen=True)
class TaskEntry:
    """A line of the list of tasks."""

    name: str
    summary: str
    where: str
    """The place of the class, as `module:class`."""
    package: str = ""
    """The installed package that brings the task; empty for the tasks of gan-tasks, and for imported classes."""
    task_class: type[Task[Any, Any]] | None = None
    """The class, if it is imported already."""

    def load(self) -> type[Task[Any, Any]]:
        """Return the class. Raises UserError if that of another package cannot be imported, or is not a task."""
        if self.task_class is not None:
            return self.task_class
        module, _, class_name = self.where.partition(":")
        if not self.package:
            task: type[Task[Any, Any]] = getattr(importlib.import_module(module), class_name)
            return task
        what = f"the task {self.name} of the package {self.package}"
        with import_errors(f"{what} ({self.where})"):
            found: Any = importlib.import_module(module)
            found = attrgetter(class_name)(found) if class_name else found
        if problem := problem_of(found):
            raise UserError(f"{what} cannot be used: {problem}. Update the package, or uninstall it")
        if found.name != self.name:
            raise UserError(
                f"{what} cannot be used: its class has the name {found.name!r}, expected the name of the entry point"
            )
        checked: type[Task[Any, Any]] = found
        return checked


def where_of(task_class: type[Any]) -> str:
    """Return the place of a class, as `module:class`."""
    return f"{task_class.__module__}:{task_class.__qualname__}"


def problem_of(found: Any) -> str:
    """Return why an object cannot be used as the class of a task; empty if it can."""
    from gan_tasks.tasks.base import Task

    if not (isinstance(found, type) and issubclass(found, Task)):
        return (
            f"{getattr(found, '__name__', repr(found))} is not a class that inherits from gan_tasks.tasks.base.Task"
        )
    what = f"the class {found.__name__}"
    if inspect.isabstract(found):
        return f"{what} lacks the methods {enumerated(sorted(found.__abstractmethods__))}"
    name = vars(found).get("name")
    if not isinstance(name, str) or not name or name.startswith("-") or name.split() != [name]:
        return f'{what} has no name of its own: give it one word, such as `name = "{found.__name__.lower()}"`'
    config = getattr(found, "Config", None)
    if not (isinstance(config, type) and is_dataclass(config)):
        return f"{what} has no Config: expected a frozen dataclass whose fields have defaults"
    try:
        config()
    except Exception as error:  # the checks of a config may raise anything
        return f"the Config of {what} cannot be made without arguments ({error}): give each field a default"
    return ""


@contextmanager
def import_errors(what: str) -> Iterator[None]:
    """Raise whatever the code of somebody else raises as a UserError, with the line that raised it."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, SyntaxError):
            text = f"{error.msg}, line {error.lineno} of {error.filename}"
        else:
            own = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
            line = f", line {own[-1].lineno} of {own[-1].filename}" if own[1:] else ""  # the first is this module
            text = f"{type(error).__name__}: {error}{line}"
        raise UserError(f"{what} cannot be imported: {text}. Repair it (--debug shows the traceback)") from error

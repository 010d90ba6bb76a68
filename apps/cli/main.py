"""`gan-tasks`: the list of commands, and errors turned into exit codes.

It starts quickly, because every command imports what is heavy when it runs.
"""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Sequence

from gan_tasks import __version__, tasks
from gan_tasks.apps.cli.arguments import HELP, HELP_ALL, Command, without_option
from gan_tasks.apps.cli.commands.apply import Apply
from gan_tasks.apps.cli.commands.check import Check
from gan_tasks.apps.cli.commands.doctor import Doctor
from gan_tasks.apps.cli.commands.evaluate import Compare, Evaluate
from gan_tasks.apps.cli.commands.export import Export, InterpolateNetworks, Verify
from gan_tasks.apps.cli.commands.inspect import Inspect
from gan_tasks.apps.cli.commands.models import Models
from gan_tasks.apps.cli.commands.photographs.restore import Restore
from gan_tasks.apps.cli.commands.quickstart import Quickstart
from gan_tasks.apps.cli.commands.report import Report
from gan_tasks.apps.cli.commands.serve import Serve
from gan_tasks.apps.cli.commands.synthesis.directions import Directions
from gan_tasks.apps.cli.commands.synthesis.edit import Edit
from gan_tasks.apps.cli.commands.synthesis.generate import Generate
from gan_tasks.apps.cli.commands.synthesis.interpolate import Interpolate
from gan_tasks.apps.cli.commands.synthesis.invert import Invert
from gan_tasks.apps.cli.commands.synthesis.mix import Mix
from gan_tasks.apps.cli.commands.train import Train
from gan_tasks.apps.cli.console import BAD_INPUT, FAILED, INTERRUPTED, OK, say_details, say_error, set_up
from gan_tasks.datasets.errors import UserError, did_you_mean, is_out_of_memory
from gan_tasks.tasks.own import OPTION, import_task_modules
from gan_tasks.threads import multiply_on_one_thread

GROUPS: dict[str, dict[str, type[Command]]] = {
    "train and measure": {
        "quickstart": Quickstart,
        "train": Train,
        "report": Report,
        "evaluate": Evaluate,
        "compare": Compare,
    },
    "use a model": {
        "apply": Apply,
        "restore": Restore,
        "export": Export,
        "interpolate-networks": InterpolateNetworks,
        "verify": Verify,
        "serve": Serve,
        "models": Models,
    },
    "use a model of noise to image": {
        "generate": Generate,
        "interpolate": Interpolate,
        "mix": Mix,
        "invert": Invert,
        "directions": Directions,
        "edit": Edit,
    },
    "look at files and the machine": {
        "inspect": Inspect,
        "check": Check,
        "doctor": Doctor,
    },
}
"""The commands by the titles that `gan-tasks --help` lists them under."""
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}
LESS_MEMORY = "smaller images, or in training a smaller --batch-size, --crop-size or --width"
EXTRAS = {
    "train": ("torch", "kornia", "albumentations", "skimage", "cv2"),
    "export": ("onnx", "onnxscript"),
    "cpu": ("onnxruntime",),
    "page": ("gradio", "fastapi", "uvicorn"),
    "video": ("av",),
}
"""The packages that each extra of the installation brings."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit: 0 done, 1 failed, 2 bad input, 129, 130 and 143 interrupted and saved."""
    arguments = sys.argv[1:] if arguments is None else arguments
    set_up(debug="--debug" in arguments)
    multiply_on_one_thread()
    try:
        code = run([argument for argument in arguments if argument != "--debug"])
    except (Exception, KeyboardInterrupt) as error:
        say_details(traceback.format_exc())
        code = explain(error)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run a command; returns its exit code. Raises UserError for bad input, SystemExit(0) after showing help."""
    arguments, modules = without_option(OPTION, arguments)
    import_task_modules(modules, taken=tasks.TASKS)
    if not arguments or arguments[0] in (*HELP, HELP_ALL):
        print(overview())
        return OK if arguments else BAD_INPUT
    if arguments[0] == "--version":
        print(__version__)
        return OK
    name, *rest = arguments
    if name not in COMMANDS:
        hint = did_you_mean(name, COMMANDS, f": expected {', '.join(COMMANDS)}; see gan-tasks --help")
        raise UserError(f"no command {name!r}{hint}")
    return COMMANDS[name].parse(rest, f"gan-tasks {name}").run()


def overview() -> str:
    return "\n".join(
        [
            f"gan-tasks {__version__}: GANs, from a folder of images to a model in use",
            "",
            "usage: gan-tasks COMMAND [OPTIONS]",
            "",
            *(line for title, commands in GROUPS.items() for line in group_lines(title, commands)),
            "options of every command",
            f"  {OPTION} MODULE  A task of your own: a .py file, or the name of a module. Its code is run.",
            "  --debug               Show the traceback of an error.",
            "",
            "gan-tasks COMMAND --help explains a command.",
        ]
    )


def group_lines(title: str, commands: dict[str, type[Command]]) -> list[str]:
    width = max(map(len, COMMANDS)) + 2
    return [title, *(f"  {name:<{width}}{summary(command)}" for name, command in commands.items()), ""]


def summary(command: type[Command]) -> str:
    return (command.__doc__ or "").splitlines()[0]


def explain(error: BaseException) -> int:
    """Say in a sentence what a person can do something about, and give its exit code; raise again what is a bug."""
    match error:
        case UserError():
            say_error(error)
            return BAD_INPUT
        case KeyboardInterrupt():
            return INTERRUPTED
        case BrokenPipeError():  # the reader of our output, such as `head`, has had enough
            sys.stderr.close()
            return OK
        case _ if is_out_of_memory(error):
            detail = str(error).partition("\n")[0].rstrip(". ")
            say_error(f"the memory does not suffice{f' ({detail})' if detail else ''}. Try {LESS_MEMORY}.")
            return BAD_INPUT
        case OSError():
            say_error(error)
            return FAILED
        case ModuleNotFoundError() if extra := extra_of(error.name or ""):
            say_error(f"this needs {error.name}, which is not installed: python -m pip install 'gan-tasks[{extra}]'")
            return FAILED
        case RuntimeError() if is_training_error(error):
            say_error(error)
            return FAILED
    raise error


def is_training_error(error: RuntimeError) -> bool:
    training = sys.modules.get("gan_tasks.training.loop")  # where it is not imported, nothing was trained
    return training is not None and isinstance(error, training.TrainingError)


def extra_of(module: str) -> str | None:
    """The extra that brings a module."""
    package = module.partition(".")[0]
    return next((extra for extra, packages in EXTRAS.items() if package in packages), None)


def program() -> None:
    """Run `main` as a program. A second Ctrl-C while Python shuts down ends it without a traceback."""
    try:
        main()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    program()

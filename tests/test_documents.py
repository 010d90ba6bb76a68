"""The documents tell the truth: their commands and code run, their options, files and links exist.

Every `gan-tasks` command and every Python block of README.md and docs/ is run, page by page, in order, on tiny data.
What differs from the document:

- `train TASK` gets the small options of tiny.py before its own, and `--width 4 --max-steps 1 --workers 0` after them.
- `train --resume` gets `--max-steps 2 --workers 0`.
- `quickstart` gets `--epochs 1`. The other pages find a tiny `quickstart/` instead of running it again.
- Models that a page names are tiny ones, in a package that stands for gan-tasks-models.
- `serve` gets `--port 0`, a free one. The server runs in this process; a thread asks for its health, runs the `curl`
  commands that follow, with the address of the server, and stops it with SIGTERM.

What is not run:

- the commands of the results pages: they need hours and data that are not here. Their options are parsed.
- `torchrun`, whose arguments are parsed, and `pip install`, whose extras must exist; of `python FILE` the file.
- blocks in other languages than bash and python: folder layouts, and snippets for nginx and Docker.
"""

from __future__ import annotations

import html
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields, is_dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
from document_blocks import blocks, commands
from shipped_package import KINDS, install_models
from tiny import QUICK, TINY, photo, tiny_task, write_run

import gan_tasks
from gan_tasks.apps.cli.commands.export import export_jy, export_verified
from gan_tasks.apps.cli.main import COMMANDS, main
from gan_tasks.datasets.images import Picture, read, write
from gan_tasks.export.onnx.metadata import OnnxMetadata
from gan_tasks.pretrained.load import ARCHITECTURES
from gan_tasks.tasks import TASKS
from gan_tasks.training.config import TrainConfig
from gan_tasks.training.loop import train

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").rglob("*.md")))
"""Documents whose commands are run."""
DOCUMENTS = (*PAGES, ROOT / "CONTRIBUTING.md")
RESULTS = ("results.md", "results-speed.md", "results-synthesis.md")
"""Pages whose commands are parsed only, as are those of the models that ship, which need not be installed."""
NOT_OURS = {
    *("--nproc-per-node", "--all-files"),  # torchrun, pre-commit
    *("--no-cache-dir", "--no-index", "--no-deps", "--target", "--only-binary", "--platform"),  # pip
    *("--python-version", "--implementation"),
    *("--seconds", "--rounds", "--batches", "--tasks", "--minutes", "--parts", "--facades", "--tiny"),  # benchmarks
    *("--commands", "--profile", "--models", "--recipes", "--checkpoints", "--task-options", "--vgg16"),
    *("--photos", "--real", "--real-is", "--sets", "--images", "--pictures", "--publish"),
}
ADDRESS = "http://localhost:7860"
TERMINATED = 128 + signal.SIGTERM

NOT_PLAIN = re.compile(
    r"\b(judg(e[ds]?|ing)|players?|rulers?|trunk|facing|floors?|rooms?|trivial|holes?|rims?|in bands|"
    r"prov(en?|es|ed|ing)|frozen network|remember(s|ed)?|cases|roughly|(?<!style[ -])strengths?|reach|honest|"
    r"preset published|the game)\b|(?<!model[ -])\bcard\b",
    re.IGNORECASE,
)
"""Words that documents do not use, because the field has better ones."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def is_parsed_only(page: Path) -> bool:
    return page.name in RESULTS or (page.parent.name == "models" and page.name != "index.md")


def has_code(page: Path) -> bool:
    return not is_parsed_only(page) and any(block.language in ("bash", "python") for block in blocks(page))


def commands_of(page: Path) -> list[list[str]]:
    return [command for block in blocks(page) if block.language == "bash" for command in commands(block.code)]


# Everything is run.


@pytest.fixture(scope="module")
def prepared(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages begin with: a tiny `quickstart/`, and files that a reader would have."""
    root = tmp_path_factory.mktemp("documents")
    (root / "photos").mkdir()
    (root / "masks").mkdir()
    quickstart, run = root / "quickstart", root / "quickstart" / "run"
    shutil.copytree(pairs, quickstart / "pairs")
    for file in (quickstart / "pairs").glob("*/*.png"):  # beside A and B there are photos for other tasks
        file.unlink()
    train(tiny_task("pix2pix"), data=pairs, out=run, config=TrainConfig(workers=0, max_steps=1, quiet=True))
    export_verified(run, quickstart / "model.onnx")
    write(quickstart / "before-after.png", Picture(photo(50, 70, seed=1)))

    pictures = {"photo": photo(72, 80, seed=1), "another": photo(76, 72, seed=2), "third": photo(72, 72, seed=3)}
    for name, pixels in pictures.items():
        mask = np.zeros(pixels.shape[:2], np.uint8)
        mask[20:40, 10:30] = 255
        write(root / "photos" / f"{name}.png", Picture(pixels))
        write(root / "masks" / f"{name}.png", Picture(mask[..., None]))
    shutil.copy(root / "photos" / "photo.png", root / "photo.png")
    shutil.copy(root / "masks" / "photo.png", root / "mask.png")
    write_film(root / "film.mp4")
    (root / "token.txt").write_text("0123456789abcdef\n")

    (root / "examples").symlink_to(ROOT / "examples")
    export_jy(run, root / "latest_net_G.pth")
    write_run(root / "runs" / "sharp", tiny_task("super-resolution"))
    write_run(root / "runs" / "sharper", tiny_task("super-resolution"))
    write_run(root / "runs" / "fill", tiny_task("inpainting"))
    write_run(root / "runs" / "noise", tiny_task("synthesis"))
    write_run(root / "runs" / "other-noise", tiny_task("synthesis"))
    return root


def write_film(path: Path) -> None:
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for number in range(3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(photo(32, 48, seed=number))))
        file.mux(stream.encode())


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if has_code(page)], ids=name_of)
def test_the_commands_and_the_code_of_a_page_run_in_order(
    page: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(prepared, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    install_models(tmp_path / "site", monkeypatch, *KINDS)
    for _, *arguments in commands_of(page):
        if arguments[0] == "train" and "--out" in arguments:  # the page makes this run itself
            shutil.rmtree(arguments[arguments.index("--out") + 1], ignore_errors=True)
    names: dict[str, object] = {}
    for block in blocks(page):
        if block.language == "python":
            exec(compile(block.code, name_of(page), "exec"), names)
        elif block.language == "bash":
            run_commands(commands(block.code))


def test_the_quickstart_is_called_rightly() -> None:
    """A test of the command line runs it."""
    found = {tuple(command[1:]) for page in PAGES for command in commands_of(page) if command[1] == "quickstart"}
    assert found
    for command in found:
        check_syntax("gan-tasks", [*command])


def run_commands(found: list[list[str]]) -> None:
    while found:
        (program, *arguments), *found = found
        match program, arguments:
            case "gan-tasks", ["serve", *_]:
                questions = list(takewhile(lambda command: command[0] == "curl", found))
                found = found[len(questions) :]
                serve_and_ask(arguments, questions)
            case "gan-tasks", ["quickstart", *_]:
                pass  # tests/apps/cli/test_main.py runs it
            case "gan-tasks", _:
                assert exit_code(made_small(arguments)) == 0, arguments
            case _:
                check_syntax(program, arguments)


def serve_and_ask(arguments: list[str], questions: list[list[str]]) -> None:
    """Run the real server, ask it from another thread, and stop it as a service manager does."""
    output, over, problems = ServerOutput(), threading.Event(), list[Exception]()

    def ask_and_stop() -> None:
        try:
            address = output.wait_for_address()
            for question in (["curl", f"{ADDRESS}/healthz"], *questions):
                ask(question, address)
        except Exception as error:
            problems.append(error)
        finally:
            if not over.is_set():
                os.kill(os.getpid(), signal.SIGTERM)

    client = threading.Thread(target=ask_and_stop)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(output):
            patch.setenv("GRADIO_TEMP_DIR", "")  # the server sets it; this restores it
            client.start()
            code = exit_code([*arguments, "--port", "0"])
    finally:
        over.set()
        output.started.set()
        client.join()
        signal.signal(signal.SIGTERM, before)
    assert not problems, problems
    assert code == TERMINATED


class ServerOutput(io.StringIO):
    """What the server prints, and with it the address where it listens."""

    def __init__(self) -> None:
        super().__init__()
        self.started = threading.Event()

    def write(self, text: str) -> int:
        count = super().write(text)
        if re.search(r"http://\S+\s", self.getvalue()):
            self.started.set()
        return count

    def wait_for_address(self) -> str:
        assert self.started.wait(60)
        return re.findall(r"http://\S+", self.getvalue())[-1]


def ask(command: list[str], address: str) -> None:
    """Run curl with another address. A file that it writes has to be a picture."""
    program, *arguments = (argument.replace(ADDRESS, address) for argument in command)
    subprocess.run([program, "--silent", "--show-error", "--fail-with-body", *arguments], check=True)
    if "-o" in arguments:
        assert read(Path(arguments[arguments.index("-o") + 1])).pixels.size


def exit_code(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as exited:
        main(arguments)
    assert isinstance(exited.value.code, int)
    return exited.value.code


def made_small(arguments: list[str]) -> list[str]:
    """A training command that takes a step or two; other commands as they are."""
    match arguments:
        case ["train", *rest] if {"--help", "--help-all"} & {*rest}:
            return arguments
        case ["train", "--resume", *_]:
            return [*arguments, "--max-steps", "2", "--workers", "0"]
        case ["train", task, *rest] if task in TINY:
            small = (*TINY[task], *QUICK.get(task, ()))
            return ["train", task, *small, *rest, "--width", "4", "--max-steps", "1", "--workers", "0"]
    return arguments


# What is not run is at least right.


@pytest.mark.parametrize("page", [page for page in PAGES if is_parsed_only(page)], ids=name_of)
def test_the_commands_of_results_have_options_that_exist(page: Path) -> None:
    found = commands_of(page)
    assert found
    for program, *arguments in found:
        check_syntax(program, arguments)


def check_syntax(program: str, arguments: list[str]) -> None:
    """What can be said of a command without running it."""
    match program, arguments:
        case "gan-tasks", [command, *rest]:
            COMMANDS[command].parse(rest, f"gan-tasks {command}")
        case "torchrun", ["--nproc-per-node", count, "-m", module, *rest]:
            assert int(count) > 1 and module == "gan_tasks.apps.cli.main"
            check_syntax("gan-tasks", rest)
        case "python", ["-m", "pip", "download" | "install", *options] if {"--no-index", "--only-binary=:all:"} & {
            *options
        }:
            pass
        case "python", ["-m", "pip", "install", *requirements]:
            known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
            extras = re.findall(r"\[(.*?)\]", " ".join(requirements))
            folders = [each for each in requirements if each.startswith("./")]
            assert extras or folders
            assert {name for extra in extras for name in extra.split(",")} <= known.keys()
            assert all((ROOT / folder / "pyproject.toml").is_file() for folder in folders)
        case "python", ["-m", "pytest"]:
            pass
        case "python" | "bash", [file, *_]:
            assert (ROOT / file).is_file()
        case _:
            raise AssertionError(f"do not know how to check: {program} {arguments}")


# What the documents name exists.


def test_the_documents_show_every_command() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in COMMANDS if f"gan-tasks {name}" not in text] == []


@pytest.fixture(scope="module")
def options() -> set[str]:
    """Every option that `--help` and `--help-all` of some command print."""
    trainings = [["train", entry.name] for entry in TASKS]
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setenv("COLUMNS", "300")
        for command in (*trainings, ["train", "--resume", "."], *([name] for name in COMMANDS), []):
            for help_option in ("--help", "--help-all"):
                with pytest.raises(SystemExit), redirect_stderr(io.StringIO()):
                    main([*command, help_option])
    return {"--help"} | set(re.findall(r"--[a-z][\w-]*", printed.getvalue()))


@pytest.mark.parametrize("document", (*DOCUMENTS, ROOT / "CHANGELOG.md"), ids=name_of)
def test_options_in_a_document_exist(document: Path, options: set[str]) -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", document.read_text(encoding="utf-8")))
    assert named - options - NOT_OURS == set()


@pytest.mark.parametrize("document", (*DOCUMENTS, ROOT / "CHANGELOG.md"), ids=name_of)
def test_links_to_files_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/design.md"])
def test_files_named_in_the_design_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    named = re.findall(r"`((?:[\w.]+/)*[\w.]+\.(?:py|md|toml|yml|yaml)|(?:[\w.]+/)+)`", text)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_a_document_uses_the_terms_of_the_field(document: Path) -> None:
    lines = document.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if NOT_PLAIN.search(line)] == []


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 130


# The site.


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a broken link or anchor, and a page outside the navigation, stop it."""
    folder = tmp_path_factory.mktemp("site")
    # Not --quiet: it hides the warnings from --strict as well.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


def test_the_site_loads_nothing_from_other_hosts(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES) - 2
    for page in pages:
        tags = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", page.read_text(encoding="utf-8"))
        assert [tag for tag in tags if re.search(r"""(?:src|href)=["']?(?:https?:)?//""", tag)] == []


def test_the_site_lists_every_architecture_of_public_checkpoints(site: Path) -> None:
    page = html.unescape((site / "guides" / "public-checkpoints" / "index.html").read_text(encoding="utf-8"))
    assert [each.title for each in ARCHITECTURES if f">{each.title}<" not in page] == []
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)]
    tiles = {cells[0]: cells[4] for cells in rows if len(cells) == 5}
    assert tiles["ESRGAN/Real-ESRGAN RRDBNet"] == tiles["BasicSR/neosr SPAN"] == tiles["SwinIR"] == "equal"
    assert tiles["Omni-SR OmniSR"] == tiles["HAT"] == tiles["pix2pix UnetGenerator"] == "slightly different"
    assert tiles["CycleGAN/pix2pix ResnetGenerator"] == "different" and tiles["Real-CUGAN UpCunet"] == "blocks"
    assert tiles["LaMa FFCResNetGenerator"] == tiles["MI-GAN Generator"] == "masked regions"
    assert tiles["AdaIN encoder and decoder"] == "whole image"


def test_the_reference_of_the_site_is_complete(site: Path) -> None:
    text = {
        page: html.unescape((site / "reference" / page / "index.html").read_text(encoding="utf-8"))
        for page in ("command-line", "training-options", "python", "rest", "onnx")
    }
    assert [name for name in COMMANDS if f"gan-tasks {name}" not in text["command-line"]] == []
    for entry in TASKS:
        for group in fields(entry.load().Config):
            config = group.default
            for field in fields(config) if is_dataclass(config) else (group,):
                if not is_dataclass(field.default):
                    assert f"-{field.name.replace('_', '-')}<" in text["training-options"], field.name
    assert [name for name in gan_tasks.__all__ if f"gan_tasks.{name}" not in text["python"] and name[0] != "_"] == []
    assert "/api/{key}/run" in text["rest"]
    assert [field.name for field in fields(OnnxMetadata) if f">{field.name}<" not in text["onnx"]] == []
    assert [page for page, content in text.items() if "generated:" in content] == []

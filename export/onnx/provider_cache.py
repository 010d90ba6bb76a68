"""Which provider was found best for a model on this machine, kept in the user's cache by `gan-tasks doctor --bench`.

One small JSON file a model, named by the hash of its content. It holds for the runtimes and the hardware that it was
measured with; anything else in its place is ignored, with a sentence. Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from gan_tasks.datasets.images import atomic
from gan_tasks.export.onnx.file import OnnxFile
from gan_tasks.export.onnx.providers import PROVIDERS, Configuration, core_count, missing

RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "openvino")


@dataclass(frozen=True)
class Setting:
    """What a measurement holds for."""

    runtimes: dict[str, str]
    """Versions by package."""
    cpu: str
    cores: int
    gpus: tuple[str, ...]


@dataclass(frozen=True)
class Record:
    """What is kept; the file holds its fields as JSON."""

    provider: str
    threads: int
    setting: Setting


def remember(file: OnnxFile, configuration: Configuration) -> Path:
    """Keep the choice for later sessions; returns where. Raises OSError where the cache cannot be written."""
    path = memory_path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    record = Record(configuration.provider.name, configuration.threads, setting_here())
    atomic.write_bytes(path, json.dumps(asdict(record), indent=1).encode())
    return path


def recall(file: OnnxFile) -> tuple[Configuration | None, str]:
    """The choice for this model; or None, and a sentence if there is one that does not hold (any more)."""
    path = memory_path(file)
    try:
        record = TypeAdapter(Record).validate_json(path.read_bytes())
    except FileNotFoundError:
        return None, ""
    except (OSError, ValidationError) as error:
        return None, ignored(f"{path} cannot be read ({type(error).__name__})", file)
    here = setting_here()
    if record.setting != here:
        changed = [name for name in asdict(here) if getattr(record.setting, name) != getattr(here, name)]
        return None, ignored(f"it was made with other {' and '.join(changed)}", file)
    provider = next((provider for provider in PROVIDERS if provider.name == record.provider), None)
    if provider is None or not 1 <= record.threads <= here.cores:
        return None, ignored(f"{path} names no provider of this version", file)
    if (reason := missing(provider)) is not None:
        return None, ignored(f"{provider.name} cannot be used any more, {reason}", file)
    return Configuration(provider, record.threads), ""


def ignored(reason: str, file: OnnxFile) -> str:
    again = f"`gan-tasks doctor --bench {file.name}` renews it"
    return f"the choice remembered for this model is ignored: {reason}. {again}"


def memory_path(file: OnnxFile) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "gan-tasks" / "providers" / f"{hashlib.sha256(file.data).hexdigest()[:32]}.json"


def setting_here() -> Setting:
    return Setting(
        runtimes={name: found for name in RUNTIMES if (found := installed_version(name))},
        cpu=cpu_name(),
        cores=core_count(),
        gpus=gpu_names(),
    )


def installed_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def cpu_name() -> str:
    """With its family and model where Linux tells them: virtual machines may call every processor the same."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    entries = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    kind = [f"{key} {entries[key]}" for key in ("cpu family", "model", "stepping") if key in entries]
    return ", ".join([entries.get("model name", platform.machine()), *kind])


def gpu_names() -> tuple[str, ...]:
    """As NVIDIA's driver calls them on Linux."""
    names = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        lines = path.read_text(encoding="utf-8").splitlines()
        names += [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    return tuple(names)

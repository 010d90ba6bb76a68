"""Cache of the fastest provider of a model on this machine, in the user's cache folder.

`gan-tasks doctor --bench` writes one small JSON file per model, named by the hash of its content. The file is valid
for the runtimes and the hardware that it was measured with. An invalid file is ignored, and the reason is given.
Imports no torch.
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
    """The runtimes and hardware that a measurement is valid for."""

    runtimes: dict[str, str]
    """Versions of the runtimes, by package."""
    cpu: str
    cores: int
    gpus: tuple[str, ...]


@dataclass(frozen=True)
class Record:
    """The content of a cache file, written as JSON."""

    provider: str
    threads: int
    setting: Setting


def write_cached(file: OnnxFile, configuration: Configuration) -> Path:
    """Write the chosen configuration for later sessions; return its path. Raises OSError if that is impossible."""
    path = cache_path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    record = Record(configuration.provider.name, configuration.threads, setting_here())
    atomic.write_bytes(path, json.dumps(asdict(record), indent=1).encode())
    return path


def read_cached(file: OnnxFile) -> tuple[Configuration | None, str]:
    """Read the cached configuration of this model.

    Returns None if there is none, and then also the reason if there is an invalid one.
    """
    path = cache_path(file)
    try:
        record = TypeAdapter(Record).validate_json(path.read_bytes())
    except FileNotFoundError:
        return None, ""
    except (OSError, ValidationError) as error:
        return None, ignored(f"{path} cannot be read ({type(error).__name__})", file)
    here = setting_here()
    if record.setting != here:
        changed = [name for name in asdict(here) if getattr(record.setting, name) != getattr(here, name)]
        return None, ignored(f"it was measured with other {' and '.join(changed)}", file)
    provider = next((provider for provider in PROVIDERS if provider.name == record.provider), None)
    if provider is None or not 1 <= record.threads <= here.cores:
        return None, ignored(f"{path} names no provider of this version, or an invalid number of threads", file)
    if (reason := missing(provider)) is not None:
        return None, ignored(f"{provider.name} is not available any more, {reason}", file)
    return Configuration(provider, record.threads), ""


def ignored(reason: str, file: OnnxFile) -> str:
    """Return a message that the cached provider is ignored, and how to renew it."""
    again = f"Renew it with `gan-tasks doctor --bench {file.name}`"
    return f"the cached provider of this model is ignored: {reason}. {again}"


def cache_path(file: OnnxFile) -> Path:
    """Return the path of the cache file of a model."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "gan-tasks" / "providers" / f"{hashlib.sha256(file.data).hexdigest()[:32]}.json"


def setting_here() -> Setting:
    """Return the runtimes and hardware of this machine."""
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
    """Return the name of the CPU; on Linux with its family and model, because some virtual machines hide the name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    entries = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    kind = [f"{key} {entries[key]}" for key in ("cpu family", "model", "stepping") if key in entries]
    return ", ".join([entries.get("model name", platform.machine()), *kind])


def gpu_names() -> tuple[str, ...]:
    """Return the names of the GPUs from NVIDIA's driver on Linux."""
    names = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        lines = path.read_text(encoding="utf-8").splitlines()
        names += [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    return tuple(names)

"""The report of `gan-tasks doctor`: installed versions, devices, runtimes, and problems of the installation.

Versions are read from package metadata, so that a broken package is reported instead of crashing. torch and ONNX
Runtime are imported only to ask them about the hardware.
"""

import importlib
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import gan_tasks
from gan_tasks.datasets.errors import counted
from gan_tasks.export.onnx.providers import PROVIDERS, has_nvidia_gpu, missing

SHOWN = ("numpy", "torch", "kornia", "albumentations", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "gradio")
# Pairs that install the same files: the one installed later overwrites the other, and removing one breaks both.
RIVALS = (
    ("onnxruntime", "onnxruntime-gpu", "onnxruntime"),
    ("onnxruntime", "onnxruntime-openvino", "onnxruntime openvino"),
    ("opencv-python", "opencv-python-headless", "opencv-python-headless"),
)
"""Two packages, and what to install in their place."""
GPU_RUNTIME = "onnxruntime-gpu"
TORCH_INSTALL_PAGE = "https://pytorch.org/get-started/locally"


@dataclass(frozen=True)
class Package:
    """`version` is None where it is not installed; `extra` is what brings it: `pip install gan-tasks[extra]`."""

    name: str
    version: str | None
    extra: str | None


@dataclass(frozen=True)
class Report:
    """All strings are for people. `dataclasses.asdict` makes it JSON; a healthy machine has no `problems`."""

    python: str
    gan_tasks: str
    packages: tuple[Package, ...]
    devices: tuple[str, ...]
    providers: Mapping[str, str | None]
    """The runtimes for .onnx files by name: None where one is installed, else the reason and the remedy."""
    problems: tuple[str, ...]


def doctor() -> Report:
    """Look at the installation and the machine; raises nothing that a broken installation could cause."""
    installed: dict[str, str] = {canonicalize_name(d.name): d.version for d in distributions() if d.name}
    requirements, has_gpu = _requirements(), has_nvidia_gpu()
    devices, device_problems = _look_at_torch(installed)
    provider_problems = _onnx_runtime_problems(installed)
    return Report(
        python=platform.python_version(),
        gan_tasks=gan_tasks.__version__,
        packages=tuple(
            Package(name, installed.get(name), _extra_of(name, requirements))
            for name in names_to_show(installed, has_gpu=has_gpu)
        ),
        devices=devices,
        providers={provider.name: missing(provider) for provider in PROVIDERS},
        problems=(
            *installation_problems(installed, requirements, has_gpu=has_gpu),
            *device_problems,
            *provider_problems,
        ),
    )


def names_to_show(installed: Mapping[str, str], *, has_gpu: bool) -> Iterator[str]:
    """SHOWN, with the ONNX Runtime that is installed; if none is, with the one for this machine."""
    runtimes = {"onnxruntime", GPU_RUNTIME}
    wanted = runtimes & set(installed) or {GPU_RUNTIME if has_gpu else "onnxruntime"}
    yield from (name for name in SHOWN if name not in runtimes - wanted)


def installation_problems(
    installed: Mapping[str, str], requirements: Sequence[Requirement], *, has_gpu: bool
) -> Iterator[str]:
    """The problems of a set of packages, name → version, each with the commands that repair it here."""
    for one, other, instead in RIVALS:
        if one in installed and other in installed:
            instead = other if other == GPU_RUNTIME and has_gpu else instead
            yield (
                f"{one} and {other} are both installed and overwrite each other's files. "
                f"Run `pip uninstall -y {one} {other}`, then `pip install {instead}`."
            )
    for requirement in requirements:
        version = installed.get(canonicalize_name(requirement.name))
        if version and not requirement.specifier.contains(version, prereleases=True):
            wanted = f"{requirement.name}{requirement.specifier}"
            yield f"{requirement.name} {version} is installed, expected {wanted}. Run `pip install '{wanted}'`."


def device_problem(*, has_nvidia_gpu: bool, torch_cuda: str | None, cuda_works: bool) -> str | None:
    """Why an NVIDIA GPU is not used, or None; `torch_cuda` is the CUDA version that torch was built for."""
    if not has_nvidia_gpu or cuda_works:
        return None
    if torch_cuda is None:
        return (
            "This machine has an NVIDIA GPU, but torch is a CPU build and will not use it. "
            f"Run `pip uninstall -y torch`, then install a CUDA build as {TORCH_INSTALL_PAGE} says."
        )
    return (
        f"This machine has an NVIDIA GPU, but torch (built for CUDA {torch_cuda}) cannot use it: most likely the "
        f"driver is too old. Update the driver, or install a build for an older CUDA: {TORCH_INSTALL_PAGE}."
    )


def _look_at_torch(installed: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The devices, and what keeps torch from using them."""
    cores = f"CPU, {counted(_core_count(), 'core')}"
    if "torch" not in installed:
        return (cores,), ()
    try:
        import torch

        from gan_tasks.training.runtime import bf16_is_fast
    except (ImportError, OSError) as error:
        return (cores,), (
            f"torch is installed but cannot be imported ({error}). Reinstall it: {TORCH_INSTALL_PAGE}.",
        )
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    speed = "fast" if bf16_is_fast(torch.device("cpu")) else "slow, fp32 is used instead"
    problem = device_problem(
        has_nvidia_gpu=has_nvidia_gpu(),
        torch_cuda=torch.version.cuda,
        cuda_works=torch.cuda.is_available(),
    )
    devices = [f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for gpu in gpus]
    return (*devices, f"{cores}, bf16 convolutions {speed}"), (problem,) if problem else ()


def _onnx_runtime_problems(installed: Mapping[str, str]) -> tuple[str, ...]:
    """What keeps ONNX Runtime from being imported."""
    if not {"onnxruntime", "onnxruntime-gpu"} & set(installed):
        return ()
    try:
        importlib.import_module("onnxruntime").get_available_providers()
        return ()
    except (ImportError, OSError, AttributeError) as error:  # AttributeError: half of it was uninstalled
        return (f"ONNX Runtime is installed but cannot be imported ({error}). Uninstall and reinstall it.",)


def _requirements() -> list[Requirement]:
    """What gan-tasks asks for on this kind of machine, extras included; empty if it is not installed itself."""
    try:
        requirements = [Requirement(text) for text in requires("gan-tasks") or ()]
    except PackageNotFoundError:
        return []
    return [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": _extra(r) or ""})]


def _extra(requirement: Requirement) -> str | None:
    """The extra that a requirement belongs to: `train` in `torch>=2.10; extra == "train"`."""
    match = re.search(r"""extra == ["']([^"']+)""", str(requirement.marker or ""))
    return match[1] if match else None


def _extra_of(name: str, requirements: Sequence[Requirement]) -> str | None:
    return next((_extra(r) for r in requirements if canonicalize_name(r.name) == name), None)


def _core_count() -> int:
    """Cores that this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""Providers that run an exported model: ONNX Runtime on the CPU, CUDA and TensorRT, and OpenVINO. Imports no torch.

PROVIDERS lists them. A requested provider that is not available is an error that says how to install it; it is never
replaced silently by another.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gan_tasks.datasets.errors import UserError, did_you_mean, enumerated
from gan_tasks.export.models.base import FloatImages
from gan_tasks.export.onnx.file import OnnxFile, OnnxFileError, constant_operators
from gan_tasks.export.onnx.metadata import spec_of
from gan_tasks.export.onnx.winograd import with_winograd

OPENVINO = "OpenVINO"
NO_ONNX_RUNTIME = "it needs ONNX Runtime: `pip install 'gan-tasks[cpu]'`"


@dataclass(frozen=True)
class Provider:
    """An engine with its options that runs a graph."""

    name: str
    """Name of the provider in options."""
    engine: str
    """ONNX Runtime's name of the provider, or OPENVINO for OpenVINO without ONNX Runtime."""
    precision: str
    """Precision of the arithmetic; tf32 is float32 with products on tensor cores if the GPU has them."""
    remedy: str
    """What to do if the provider is missing."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Options of the engine."""
    winograd: bool = False
    """Whether 3×3 convolutions are rewritten (see winograd.py)."""

    @property
    def on_gpu(self) -> bool:
        return self.engine in ("CUDAExecutionProvider", "TensorrtExecutionProvider")


NO_NVIDIA_GPU = "it runs on NVIDIA GPUs, and this machine has none, or no driver for it"
CUDA_REMEDY = "it needs an NVIDIA GPU, its driver, CUDA, and the package onnxruntime-gpu in place of onnxruntime"
TENSORRT_REMEDY = f"{CUDA_REMEDY}; and TensorRT (`pip install tensorrt`)"
OPENVINO_REMEDY = "it needs OpenVINO: `pip install 'gan-tasks[openvino]'`"

WINOGRAD_REMEDY = "it needs the package that rewrites graphs: `pip install onnx`"

CPU = Provider("cpu", "CPUExecutionProvider", "fp32", NO_ONNX_RUNTIME)
CUDA = Provider("cuda", "CUDAExecutionProvider", "tf32", CUDA_REMEDY)
PROVIDERS = (
    CPU,
    Provider("cpu-winograd", "CPUExecutionProvider", "fp32", NO_ONNX_RUNTIME, winograd=True),
    CUDA,
    Provider("tensorrt", "TensorrtExecutionProvider", "tf32", TENSORRT_REMEDY),
    Provider("tensorrt-fp16", "TensorrtExecutionProvider", "fp16", TENSORRT_REMEDY, {"trt_fp16_enable": "1"}),
    Provider("openvino", OPENVINO, "fp32", OPENVINO_REMEDY, {"INFERENCE_PRECISION_HINT": "f32"}),
    Provider(
        "openvino-winograd", OPENVINO, "fp32", OPENVINO_REMEDY, {"INFERENCE_PRECISION_HINT": "f32"}, winograd=True
    ),
    Provider("openvino-bf16", OPENVINO, "bf16", OPENVINO_REMEDY, {"INFERENCE_PRECISION_HINT": "bf16"}),
)


class Session(Protocol):
    """The methods of `onnxruntime.InferenceSession` that every session has."""

    def run(
        self, output_names: Sequence[str], feeds: Mapping[str, FloatImages], *options: Any
    ) -> Sequence[FloatImages]: ...
    def get_inputs(self) -> Sequence[Any]: ...
    def get_outputs(self) -> Sequence[Any]: ...
    def get_providers(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Configuration:
    """A provider, its number of CPU threads, and its GPU index."""

    provider: Provider
    threads: int
    device_index: int = 0

    def __str__(self) -> str:
        threads = "" if self.provider.on_gpu else f", {self.threads} thread{'s' * (self.threads != 1)}"
        return f"{self.provider.name}{threads}"


Start = Callable[[OnnxFile, Configuration], Session]
"""Starts a session, as `start_session` does and with its errors."""


def find_provider(name: str) -> Provider:
    """Return the provider of PROVIDERS with this name. Raises UserError for an unknown name."""
    for provider in PROVIDERS:
        if provider.name == name:
            return provider
    names = ["auto", *(provider.name for provider in PROVIDERS)]
    raise UserError(f"no provider is called {name!r}{did_you_mean(name, names, f': expected {enumerated(names)}')}")


def missing(provider: Provider) -> str | None:
    """Return why a provider is not available and what to do about it; None if it is available.

    A GPU provider that is available may still fail when a session is started.
    """
    if provider.winograd and find_spec("onnx") is None:
        return WINOGRAD_REMEDY
    if provider.engine == OPENVINO:
        try:
            core = openvino_core()
        except (ImportError, OSError):
            return provider.remedy
        if provider.precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            return "this CPU has no bf16 (AVX512-BF16 or AMX): use openvino"
        return None
    try:
        import onnxruntime

        if provider.engine in onnxruntime.get_available_providers():
            return None
    except (ImportError, OSError, AttributeError):  # AttributeError: onnxruntime is partly uninstalled
        pass
    return NO_NVIDIA_GPU if provider.on_gpu and not has_nvidia_gpu() else provider.remedy


def has_nvidia_gpu() -> bool:
    """Return whether the machine has an NVIDIA GPU with a driver. Starts no program."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def require(provider: Provider) -> None:
    """Raise UserError with the remedy if a provider is missing."""
    if (reason := missing(provider)) is not None:
        raise UserError(f"the provider {provider.name} cannot be used here: {reason}")


def core_count() -> int:
    """Return the number of cores that this process may use; in a container it may be less than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_counts() -> tuple[int, ...]:
    """Return the numbers of threads to try: one per core, and half of that, as two logical cores may share one."""
    cores = core_count()
    return (cores, cores // 2) if cores >= 4 else (cores,)


def configurations() -> tuple[Configuration, ...]:
    """Return all available configurations; the first is float32 on the CPU, the reference of the others."""
    return tuple(
        Configuration(provider, threads)
        for provider in PROVIDERS
        if missing(provider) is None
        for threads in (thread_counts()[:1] if provider.on_gpu else thread_counts())
    )


def start_session(file: OnnxFile, configuration: Configuration) -> Session:
    """Start a session on this provider only.

    Raises UserError with the remedy if the provider is not available or does not work, and OnnxFileError if the
    runtime does not accept the file.
    """
    provider = configuration.provider
    require(provider)
    if provider.winograd:
        file = replace(file, data=with_winograd(file))
    if provider.engine == OPENVINO:
        return OpenVinoSession(file, configuration)
    session = start_onnx_runtime(file, configuration)
    if session.get_providers()[0] != provider.engine:  # ONNX Runtime falls back silently
        raise UserError(f"ONNX Runtime cannot use {provider.name} here: {provider.remedy}. Or choose the CPU")
    return OnDevice(session, "cuda", configuration.device_index) if provider.on_gpu else session


def start_default(file: OnnxFile, start: Start = start_session) -> tuple[Configuration, Session]:
    """Start a session on CUDA if it works, else on the CPU. Raises the errors of `start_session`."""
    if missing(CUDA) is None:
        try:
            configuration = Configuration(CUDA, core_count())
            return configuration, start(file, configuration)
        except UserError:
            pass  # try the CPU; if the file is the reason, the CPU raises the error
    configuration = Configuration(CPU, core_count())
    return configuration, start(file, configuration)


def start_onnx_runtime(file: OnnxFile, configuration: Configuration) -> Any:
    """Start a session of ONNX Runtime. Raises OnnxFileError if it does not accept the file."""
    import onnxruntime

    provider = configuration.provider
    chosen: list[Any] = ["CPUExecutionProvider"]
    if provider.on_gpu:
        onnxruntime.preload_dlls()  # CUDA libraries that pip installed
        device = {"device_id": str(configuration.device_index)}
        if provider.engine != CUDA.engine:  # TensorRT leaves unsupported operators to CUDA
            chosen.insert(0, (CUDA.engine, device))
        chosen.insert(0, (provider.engine, {**provider.options, **device}))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised as exceptions
    options.intra_op_num_threads = configuration.threads
    # Otherwise the runtime also accepts a format of its own, whose bytes were not checked.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # Threads that wait for work sleep. Otherwise they keep cores busy that others need (see gan_tasks/threads.py).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Memory patterns for repeated sizes make the memory of contextual attention grow by a third.
    spec = spec_of(file)
    options.enable_mem_pattern = spec is None or spec.use != "inpaint"
    # It runs what depends on no input before anything can stop it. An exported graph has only weights to convert.
    folds = constant_operators(file) <= {"Cast"}
    disabled = [] if folds else ["ConstantFolding"]
    try:
        return onnxruntime.InferenceSession(file.data, options, providers=chosen, disabled_optimizers=disabled)
    except Exception as error:  # the runtime has a dozen exceptions without a common base class
        raise OnnxFileError(
            f"{file.name} is not accepted by ONNX Runtime {onnxruntime.__version__} ({error})"
        ) from error


class OnDevice:
    """An ONNX Runtime session with inputs and outputs bound to a device.

    Each input is copied to the device once and each output is copied back once, even if parts of the graph run
    elsewhere.

    device: ONNX Runtime's name of the device, such as cuda.
    """

    def __init__(self, session: Any, device: str, index: int) -> None:
        self.session = session
        self.device = device
        self.index = index

    def run(
        self, output_names: Sequence[str], feeds: Mapping[str, FloatImages], *options: Any
    ) -> Sequence[FloatImages]:
        from onnxruntime import OrtValue

        binding = self.session.io_binding()
        for name, value in feeds.items():
            there = OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value), self.device, self.index)
            binding.bind_ortvalue_input(name, there)
        for name in output_names:
            binding.bind_output(name, self.device, self.index)
        self.session.run_with_iobinding(binding)
        outputs: Sequence[FloatImages] = binding.copy_outputs_to_cpu()
        return outputs

    def get_inputs(self) -> Sequence[Any]:
        inputs: Sequence[Any] = self.session.get_inputs()
        return inputs

    def get_outputs(self) -> Sequence[Any]:
        outputs: Sequence[Any] = self.session.get_outputs()
        return outputs

    def get_providers(self) -> Sequence[str]:
        providers: Sequence[str] = self.session.get_providers()
        return providers


@dataclass(frozen=True)
class Value:
    """An input or output of a graph; a free dimension is -1."""

    name: str
    shape: tuple[int, ...]


def openvino_core() -> Any:
    """Return the only openvino.Core of the process. Raises ImportError or OSError if OpenVINO is missing.

    It is never freed. OpenVINO 2026.4 gives the first thread that uses its CPU plugin a signal stack, and frees it
    with the plugin. If another thread frees the plugin, the next signal ends the process (PyTorch's loader handles
    SIGCHLD).
    """
    import openvino

    return one_of(openvino.Core)


@cache
def one_of(kind: Callable[[], Any]) -> Any:
    """Return the only instance of a class."""
    return kind()


class OpenVinoSession:
    """A graph compiled by OpenVINO for the CPU. Several threads may use it; it runs one at a time."""

    def __init__(self, file: OnnxFile, configuration: Configuration) -> None:
        import openvino

        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": configuration.threads,
            "ENABLE_CPU_PINNING": False,  # a pinned thread waits for its core although another one is free
            **configuration.provider.options,
        }
        try:
            core = openvino_core()
            model = core.read_model(file.data)
            compiled = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            version = openvino.__version__.partition("-")[0]
            last = str(error).strip().splitlines()[-1]
            raise OnnxFileError(f"{file.name} is not accepted by OpenVINO {version} ({last})") from error
        used = str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
        if used != configuration.provider.options["INFERENCE_PRECISION_HINT"]:
            raise UserError(f"OpenVINO computes in {used} here instead of {configuration.provider.precision}")
        # The names are read before the compiler renames ports after merged layers.
        self._inputs = [Value(port.get_node().get_friendly_name(), shape_of(port)) for port in model.inputs]
        self._outputs = [Value(port.get_any_name(), shape_of(port)) for port in model.outputs]
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()

    def run(
        self, output_names: Sequence[str], feeds: Mapping[str, FloatImages], *options: Any
    ) -> Sequence[FloatImages]:
        with self._lock:
            outputs = self._request.infer(dict(feeds))
            return [np.asarray(outputs[name], np.float32) for name in output_names]

    def get_inputs(self) -> Sequence[Value]:
        return self._inputs

    def get_outputs(self) -> Sequence[Value]:
        return self._outputs

    def get_providers(self) -> Sequence[str]:
        return (OPENVINO,)


def shape_of(port: Any) -> tuple[int, ...]:
    return tuple(side.get_length() if side.is_static else -1 for side in port.get_partial_shape())

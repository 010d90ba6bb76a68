"""Run a session, with errors in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from gan_tasks.datasets.errors import UserError, says_out_of_memory
from gan_tasks.export.models.base import FloatImages, ModelRunError, shape_text
from gan_tasks.export.onnx.contract import OUTPUT
from gan_tasks.export.onnx.providers import Session


def run_session(
    session: Session, feeds: Mapping[str, FloatImages], *options: Any, name: str = "the model"
) -> FloatImages:
    """Run the graph on its inputs by name, N×C×H×W or N×C float32, images in [0, 1]; return its output.

    options: RunOptions for a session of ONNX Runtime, a Limit for an ApartSession.
    name: the model, for messages.

    Raises ModelRunError if the runtime cannot run it, or its output is not float32.
    """
    try:
        (output,) = session.run([OUTPUT], feeds, *options)
    except (MemoryError, UserError):
        raise
    except Exception as error:  # the runtimes have a dozen exceptions without a common base class
        raise ModelRunError(f"{name} cannot be run on {shapes_text(feeds)}: {reason_of(error)}") from error
    if not isinstance(output, np.ndarray) or output.dtype != np.float32:
        kind = output.dtype if isinstance(output, np.ndarray) else type(output).__name__
        raise ModelRunError(f"{name} gives values of the type {kind}: expected float32. Export it again")
    return output


def shapes_text(feeds: Mapping[str, FloatImages]) -> str:
    return ", ".join(f"{key} {shape_text(x.shape)}" for key, x in feeds.items())


def reason_of(error: Exception) -> str:
    """Return the reason that a runtime gives, without places in its source code."""
    text = " ".join(str(error).split()) or type(error).__name__
    head, _, status = text.rpartition("Status Message: ")
    operator = found[1] if (found := re.search(r"while running (\w+) node", head)) else ""
    status = re.sub(r"^\S+\.(?:h|cc|cpp|cu):\d+ .*?\) ", "", status).removeprefix("[ONNXRuntimeError] : ")
    reason = f"{operator}: {status[:200]}" if operator else status[:200]
    return f"{reason}. A smaller --max-memory runs it in smaller tiles" if says_out_of_memory(reason) else reason


def shrink_arena(session: Any, feeds: Mapping[str, FloatImages]) -> None:
    """Run a session of ONNX Runtime on the CPU, after which it frees the memory that it keeps between runs."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    run_session(session, feeds, options)

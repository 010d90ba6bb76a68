"""`gan-tasks serve`: models in a web page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from gan_tasks.apps.cli.arguments import Command
from gan_tasks.apps.cli.console import OK
from gan_tasks.apps.cli.memory import memory_bytes
from gan_tasks.apps.cli.options import Positional
from gan_tasks.datasets.ranges import Checked, PositiveCount, Range, Seconds


@dataclass(frozen=True)
class Serve(Checked, Command):
    """Open a web page in which anybody can use the models. For .onnx files it needs no torch."""

    models: Positional[tuple[Path, ...]] = ()
    """The models: .onnx files, run folders, published .pth, .safetensors or .param files, or names of models
    (`gan-tasks models` lists them). Each has a tab. The directions of one training share a tab, and so do models of
    super-resolution. PyTorch runs run folders and published files. Without any model, the page has all models of
    gan-tasks-models that are installed."""
    host: str = "127.0.0.1"
    """The address to listen on. 0.0.0.0 lets other machines connect, which needs --token-file or --no-token."""
    port: Annotated[int, Range(0, 65_535)] = 7860
    """The port to listen on. 0 takes a free one."""
    max_pixels: PositiveCount = 50_000_000
    """The largest number of pixels of an upload. A result may have four times as many."""
    max_upload: str = "200MB"
    """The largest size of an upload."""
    queue_size: Annotated[int, Range(1, 10_000)] = 5
    """The number of jobs that may wait. Further requests are answered with 503."""
    max_seconds: Seconds = 3600
    """The longest time of a job. It is stopped then, also while the network runs."""
    max_disk: str = "4GB"
    """The disk space for uploads and results. The oldest are deleted first, and all after an hour."""
    token_file: Path | None = None
    """A file with a secret of at least 16 characters. Every request has to show it: programs as the header
    `Authorization: Bearer TOKEN`, browsers once as /?token=TOKEN."""
    no_token: bool = False
    """Let everybody who can connect to the address use the models."""
    device: str = "auto"
    """The device to run on: auto, cpu, cuda or cuda:N."""
    max_memory: str = ""
    """The memory for a network's features, such as 512MB. Larger images are processed in tiles. The default is
    2.4GB."""
    provider: str = "auto"
    """The runtime for .onnx files, by the name that `gan-tasks doctor` lists. auto takes the fastest one that
    `gan-tasks doctor --bench` has measured for a model, else CUDA where it works, else the CPU."""
    public_url: str = ""
    """The address at which a proxy shows the page, such as https://example.org/paint. The proxy has to remove the
    path from the requests that it passes on."""
    open: bool = False
    """Open the page in a browser."""

    def run(self) -> int:
        from gan_tasks.apps.web.job_queue import Limits
        from gan_tasks.apps.web.server import serve
        from gan_tasks.datasets.errors import UserError

        limits = Limits(
            max_pixels=self.max_pixels,
            max_upload_bytes=memory_bytes(self.max_upload),
            queue_size=self.queue_size,
            max_seconds=self.max_seconds,
            max_disk_bytes=memory_bytes(self.max_disk),
        )
        if limits.max_disk_bytes < 4 * limits.max_upload_bytes:
            raise UserError(
                f"--max-disk {self.max_disk} is too little: expected at least four times --max-upload, which is "
                f"{self.max_upload}"
            )
        serve(
            self.models,
            host=self.host,
            port=self.port,
            limits=limits,
            token_file=self.token_file,
            no_token=self.no_token,
            device=self.device,
            max_memory_bytes=memory_bytes(self.max_memory) if self.max_memory else None,
            provider=self.provider,
            public_url=self.public_url,
            open_browser=self.open,
        )
        return OK

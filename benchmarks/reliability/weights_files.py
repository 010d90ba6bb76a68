"""Change small weights files at random, and list those that crash a command, never end, or take too much memory.

    python benchmarks/reliability/weights_files.py [--seconds 30] [--seed 0] [--keep DIR]

The files are those of torch.save in its two formats, .safetensors and ncnn's .param with .bin. `inspect` and `apply`
run on them.
"""

from __future__ import annotations

import io
import os
import pickle
import random
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import safetensors.torch
import torch
from command_line import prepare
from mutated_files import changed_bytes, parsed, try_files

from gan_tasks.datasets.images import Picture, write
from gan_tasks.export.formats.basicsr import to_basicsr
from gan_tasks.export.formats.jy import to_jy
from gan_tasks.networks.super_resolution.convolutional import srvgg
from gan_tasks.networks.translation import resnet, unet


def changed_inside(data: bytes, rng: random.Random) -> bytes:
    """Change the pickle of a zip file and write a valid zip file again; repeat or rename keys of a .safetensors.

    Other files get changed bytes.
    """
    if data.startswith(b"PK"):
        return changed_zip(data, rng)
    length = int.from_bytes(data[:8], "little")
    if data[8:9] == b"{" and length < len(data):
        header = bytearray(data[8 : 8 + length])
        at = rng.randrange(len(header))
        header[at : at + 1] = rng.choice((b"9", b"99999999", b"-1", b"0", b".model.3", b"1e9"))
        return len(header).to_bytes(8, "little") + bytes(header) + data[8 + length :]
    return changed_bytes(data, rng)


def changed_zip(data: bytes, rng: random.Random) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(buffer, "w") as after:
        for member in before.infolist():
            content = before.read(member)
            if member.filename.endswith(".pkl"):
                content = changed_bytes(content, rng)
            after.writestr(member.filename, content)
    return buffer.getvalue()


def make_seeds(folder: Path) -> list[Path]:
    """Write three small networks in every format."""
    upscaler = to_basicsr(srvgg(3, 3, scale=2, width=4, convs=1))
    states = {"srvgg": upscaler, "resnet": to_jy(resnet(3, 3, width=2)), "unet": to_jy(unet(3, 3, width=2, downs=5))}
    for name, state in states.items():
        torch.save(state, folder / f"{name}.pth")
        torch.save({"params": state, "epoch": 3}, folder / f"{name}-old.pth", _use_new_zipfile_serialization=False)
        safetensors.torch.save_file(
            {key: tensor.clone() for key, tensor in state.items()}, folder / f"{name}.safetensors"
        )
    (folder / "numbers.pth").write_bytes(pickle.dumps({"a": [1, 2, (3, 4)]}, 2))
    prepare(f"export {folder / 'srvgg.pth'} {folder / 'ncnn.param'} --format ncnn")
    return sorted(path for path in folder.iterdir() if path.suffix != ".bin")


def main() -> int:
    options = parsed(__doc__)
    with TemporaryDirectory() as place:
        seeds = make_seeds(Path(place))
        image = Path(place, "image.png")
        write(image, Picture(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)))
        commands = ["inspect {file}", f"apply {{file}} {image} {{out}} --device cpu"]
        return try_files(seeds, [changed_bytes, changed_inside], commands, options)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a forked process has no threads of its parent
    torch.set_num_threads(1)
    sys.exit(main())

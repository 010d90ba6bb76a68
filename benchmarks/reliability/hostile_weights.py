"""Open weights files that were made to do harm, and list those that do.

    python benchmarks/reliability/hostile_weights.py [--all] [--only WORD] [--keep DIR]

The files are pickles (`hostile_pickles.py`), zip files, .safetensors and ncnn files, networks of every family of an
absurd size, and things that are no files. Each is opened with one of `inspect`, `apply`, `export`, `serve` and
`train --init-from` in turn, with `--all` by each of them. Right are the exit codes 0 and 2 in under 10 s and 1 GB,
where nothing was executed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import re
import shlex
import struct
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from command_line import SHORT, make_pairs, run_apart
from hostile_pickles import HEAD, PLAIN, all_pickles, holding
from published_networks import published_networks, repeated
from tiny_trainings import TINY

from gan_tasks.apps.web import server
from gan_tasks.datasets.images import Picture, write
from gan_tasks.networks.super_resolution.convolutional import srvgg
from gan_tasks.pretrained.conversion import State, rename_modules
from gan_tasks.pretrained.super_resolution.srvgg import srvgg_names

SECONDS, MEMORY_BYTES, ADDRESS_BYTES = 10.0, 10**9, 8 * 10**9
EXPORT_SECONDS = 30.0
"""Of an export, which takes 20 s for DeepFill on a busy machine."""
HUGE = (0, 100_000, 2**31, 2**62)
"""Sizes that are put in place of those of a tensor."""


def zip_of(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def torch_zip(content: bytes, **others: bytes) -> bytes:
    members = {"n/data.pkl": content, "n/version": b"3\n", "n/byteorder": b"little", "n/data/0": bytes(64)}
    return zip_of(members | others)


def legacy(
    content: bytes, keys: bytes = pickle.dumps(["0"], 2), after: bytes = struct.pack("<q", 16) + bytes(64)
) -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(1)}, buffer, _use_new_zipfile_serialization=False)
    example = buffer.getvalue()
    return example[: example.index(b"\x80\2", example.index(b"little_endian"))] + content + keys + after


def torch_bytes(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def changed_at(data: bytes, place: int, value: bytes) -> bytes:
    return data[:place] + value + data[place + len(value) :]


def zips() -> Iterator[tuple[str, bytes]]:
    """Zip files whose directory lies, and other containers."""
    good = torch_zip(holding(PLAIN))
    entry, end = good.rindex(b"PK\1\2"), good.rindex(b"PK\5\6")
    plain = {"n/data.pkl": holding(PLAIN), "n/version": b"3\n"}
    yield "good", good
    yield "bomb", zip_of({**plain, "n/data/0": bytes(200 << 20)}, zipfile.ZIP_DEFLATED)
    yield "bomb-bzip2", zip_of({**plain, "n/data/0": bytes(200 << 20)}, zipfile.ZIP_BZIP2)
    yield "bomb-of-pickle", zip_of({"n/data.pkl": HEAD + b"(" + b"}" * (64 << 20) + b"l."}, zipfile.ZIP_DEFLATED)
    yield "many-members", zip_of({**plain, **{f"n/data/{i}": b"" for i in range(60_000)}})
    yield "names-go-up", zip_of({"../../data.pkl": holding(PLAIN), "../../data/0": bytes(64), "../../version": b"3"})
    yield "names-absolute", zip_of({"/tmp/data.pkl": holding(PLAIN), "/tmp/data/0": bytes(64), "/tmp/version": b"3"})
    yield "name-has-zero", zip_of({**plain, "n/data/0\0.pkl": bytes(64)})
    yield "names-of-other-case", zip_of({**plain, "N/DATA/0": bytes(4)})
    yield "many-folders", zip_of({**plain, "x/" * 30_000 + "0": bytes(64)})
    yield "two-pickles", zip_of({**plain, "m/data.pkl": HEAD + b"cos\nsystem\n."})
    yield "storage-short", zip_of({**plain, "n/data/0": bytes(8)})
    yield "storage-twice", zip_of({**plain, "n/data/0": bytes(64)})[:0] + twice(plain)
    yield "encrypted", changed_at(good, entry + 8, b"\1\0")
    yield "encrypted-locally", changed_at(good, 6, b"\1\0")
    yield "size-claimed", changed_at(good, entry + 20, struct.pack("<2L", 2**31 - 1, 2**31 - 1))
    yield "size-claimed-locally", changed_at(good, 18, struct.pack("<2L", 2**31 - 1, 2**31 - 1))
    yield "offset-outside", changed_at(good, entry + 42, struct.pack("<L", 2**31))
    yield "members-claimed", changed_at(good, end + 8, struct.pack("<2H", 65_535, 65_535))
    yield "directory-claimed", changed_at(good, end + 12, struct.pack("<L", 2**31))
    yield "directory-inside-itself", changed_at(good, end + 16, struct.pack("<L", end))
    yield "many-disks", changed_at(good, end + 4, struct.pack("<2H", 7, 7))
    yield "comment", changed_at(good, end + 20, struct.pack("<H", 65_535)) + b"PK\5\6" * 16_384
    yield "comment-claimed", changed_at(good, end + 20, struct.pack("<H", 65_535))
    yield "bytes-before", b"#!/bin/sh\n" + good
    yield "zip-before", b"PK\3\4" + bytes(26) + good
    yield "bytes-after", good + bytes(1000)
    yield (
        "zip64-claimed",
        good[:end]
        + struct.pack("<4sQ2H2L4Q", b"PK\6\6", 2**40, 45, 45, 0, 0, 2**40, 2**40, 2**40, 0)
        + struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
        + good[end:],
    )
    yield "zip64-elsewhere", good[:end] + struct.pack("<4sLQL", b"PK\6\7", 0, 2**60, 1) + good[end:]
    yield "only-end", good[end:]
    yield "only-start", b"PK\3\4"
    yield "cut", good[: len(good) // 2]
    yield "version-is-text", torch_zip(holding(PLAIN), **{"n/version": b"9" * 100_000})
    yield "version-is-huge", torch_zip(holding(PLAIN), **{"n/version": b"99999999999999999999\n"})
    yield "byteorder-unknown", torch_zip(holding(PLAIN), **{"n/byteorder": b"middle" * 10_000})
    yield "format-unknown", torch_zip(holding(PLAIN), **{"n/.format_version": b"x", "n/.storage_alignment": b"-1"})
    yield (
        "alignment-huge",
        torch_zip(holding(PLAIN), **{"n/.format_version": b"1", "n/.storage_alignment": b"99999999999999999999"}),
    )
    yield "torchscript", torch_zip(holding(PLAIN), **{"n/constants.pkl": b")."})
    yield "tar", b"N.N.N.N.N.".ljust(257, b"\0") + b"ustar\0" + b"00" + bytes(8192)


def twice(members: Mapping[str, bytes]) -> bytes:
    """A zip file with two members of one name, of which the second is too short."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        for data in (bytes(64), bytes(4)):
            archive.writestr("n/data/0", data)
    return buffer.getvalue()


def legacies() -> Iterator[tuple[str, bytes]]:
    """Files in the format of torch.save before 1.6."""
    old = holding(PLAIN.replace(b"tQ", b"NtQ"))
    yield "good", legacy(old)
    yield "cut", legacy(old)[:-32]
    yield "size-claimed", legacy(old, after=struct.pack("<q", 2**40) + bytes(64))
    yield "size-negative", legacy(old, after=struct.pack("<q", -16) + bytes(64))
    yield "size-swapped", legacy(old, after=struct.pack(">q", 16) + bytes(64))
    yield "keys-many", legacy(old, HEAD + b"](" + b"U\x010" * 100_000 + b"e.")
    yield "keys-unknown", legacy(old, pickle.dumps(["1"], 2))
    yield "keys-number", legacy(old, pickle.dumps(7, 2))
    yield "keys-none", legacy(old, pickle.dumps([], 2))
    yield "magic-wrong", pickle.dumps(7, 2) * 5
    yield "only-magic", legacy(old)[:15]
    yield "pickle-is-text", b"I7\n." * 5


def safetensors_files() -> Iterator[tuple[str, bytes]]:
    """.safetensors whose header lies."""
    one: dict[str, Any] = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}

    def file(header: Any, data: bytes = bytes(16), length: int | None = None) -> bytes:
        written = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(written) if length is None else length) + written + data

    yield "good", file({"a": one})
    changes: dict[str, dict[str, Any]] = {
        "offsets-outside": {"data_offsets": [0, 2**40]},
        "offsets-negative": {"data_offsets": [-16, 0]},
        "offsets-backwards": {"data_offsets": [16, 0]},
        "offsets-huge": {"data_offsets": [2**64 - 16, 2**64 - 1]},
        "shape-overflows": {"shape": [2**62, 4]},
        "shape-huge-and-none": {"shape": [2**62, 0], "data_offsets": [0, 0]},
        "shape-negative": {"shape": [-4]},
        "shape-is-text": {"shape": "4"},
        "shape-is-float": {"shape": [4.5]},
        "shape-has-many": {"shape": [1] * 100_000 + [4]},
        "dtype-unknown": {"dtype": "Q7"},
        "dtype-f8": {"dtype": "F8_E4M3", "shape": [16]},
        "dtype-f8-e8m0": {"dtype": "F8_E8M0", "shape": [16]},
        "dtype-f4": {"dtype": "F4", "shape": [32]},
        "dtype-complex": {"dtype": "C64", "shape": [2]},
        "dtype-u64": {"dtype": "U64", "shape": [2]},
        "field-unknown": {"code": "os.system"},
    }
    for name, change in changes.items():
        yield name, file({"a": {**one, **change}})
    yield "overlapping", file({"a": one, "b": one})
    yield "gap", file({"a": one, "b": {**one, "data_offsets": [32, 48]}}, bytes(48))
    yield (
        "many-tensors",
        file({f"{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(60_000)}, b""),
    )
    yield "long-name", file({"a" * (1 << 20): one})
    yield (
        "long-names",
        file({f"{i}." * 100_000: one | {"data_offsets": [16 * i, 16 * i + 16]} for i in range(5)}, bytes(80)),
    )
    yield "names-of-controls", file({"\x1b[2J\r\n\0": one})
    yield "metadata-nested", file({"a": one, "__metadata__": {"a": {"b": "c"}}})
    yield "metadata-long", file({"a": one, "__metadata__": {f"{i}": "x" * 1000 for i in range(3000)}})
    yield "metadata-controls", file({"a": one, "__metadata__": {"\x1b[2J": "\x1b]0;owned\7"}})
    yield "metadata-only", file({"__metadata__": {"a": "b"}}, b"")
    yield "deep", file(b'{"a":' * 1_000_000)
    yield "deep-lists", file(b"[" * 4_000_000)
    yield "repeated-name", file(b'{"a":' + json.dumps(one).encode() + b',"a":' + json.dumps(one).encode() + b"}")
    yield "no-json", file(b"\xff" * 100)
    yield "header-huge", file({"a": one}, length=2**63)
    yield "header-largest", file({"a": one}, length=2**64 - 1)
    yield "header-none", file({"a": one}, length=0)
    yield "header-longer", file({"a": one}, length=1000)
    yield "cut", file({"a": one}, bytes(8))
    yield "longer", file({"a": one}, bytes(1000))
    yield "empty", b""
    yield "short", b"\0\0\0"


def ncnn_files() -> Iterator[tuple[str, bytes]]:
    """.param files; the .bin beside each is short."""
    first, conv = "Input image 0 1 image 0=0\n", "Convolution c 1 1 image x 0=16 1=3 4=1 5=1 6=432\n"

    def param(layers: str, count: object = None) -> bytes:
        claimed = layers.count("\n") if count is None else count
        return f"7767517\n{claimed} 2\n{layers}".encode()

    yield "short-bin", param(first + conv)
    yield "many-layers", param(first + "Split s 1 1 image image\n" * 100_000)
    yield "layers-claimed", param(first + conv, 10**9)
    yield "layers-negative", param(first + conv, -1)
    yield "layers-in-digits", param(first + conv, "9" * 100_000)
    yield "inputs-negative", param(first + "Concat c -1 1 image x\n")
    yield "inputs-many", param(first + f"Concat c 300000 1 {'image ' * 300_000}x\n")
    yield "outputs-many", param(first + "".join(f"Split s{i} 1 300 image {'x ' * 300}\n" for i in range(6000)))
    yield "inputs-unknown", param(first + "Concat c 1 1 nothing x\n")
    yield "in-itself", param(first + "Concat c 1 1 x x\n")
    yield "kind-unknown", param(first + "Lua l 1 1 image x 0=os.execute\n")
    for name, value in {
        "zero": "0",
        "negative": "-5",
        "huge": "1e18",
        "nan": "nan",
        "inf": "inf",
        "list": "1,2",
    }.items():
        yield f"outputs-{name}", param(first + conv.replace("0=16", f"0={value}"))
        yield f"weights-{name}", param(first + conv.replace("6=432", f"6={value}"))
        yield f"factor-{name}", param(first + conv + f"PixelShuffle p 1 1 x y 0={value}\n")
        yield f"unshuffle-{name}", param(first + f"Reorg r 1 1 image x 0={value}\n" + conv)
    yield "keys-in-digits", param(first + "Concat c 1 1 image x " + "9" * 100_000 + "=1\n")
    yield "values-many", param(first + "Concat c 1 1 image x -23300=" + "1," * 500_000 + "1\n")
    yield "name-long", param(first + f"Lua {'n' * 1_000_000} 1 1 image x\n")
    yield "name-controls", param(first + "Lua \x1b[2J 1 1 image x\n")
    yield "magic-wrong", b"7767518\n1 1\n"
    yield "not-text", b"\xff\xfe" * 100
    yield "empty", b""
    yield "zeros", bytes(1000)


def networks(state: State) -> Iterator[tuple[str, bytes]]:
    """A family's network with one size of one tensor changed, with one number of a name, and with odd numbers."""
    yield "good", torch_bytes(dict(state))
    firsts = list(state)[:6] + list(state)[-4:]
    for key in firsts:
        for axis in range(state[key].ndim):
            for size in HUGE:
                sizes = list(state[key].shape)
                sizes[axis] = size
                if np.prod([float(each) for each in sizes]) < 2**62:
                    yield f"{key}-{axis}-{size}", torch_bytes({**state, key: torch.zeros(()).expand(sizes)})
                if 0 < size <= 100_000:
                    thin = [size if each == axis else 1 for each in range(state[key].ndim)]
                    yield f"{key}-{axis}-thin", torch_bytes({**state, key: torch.zeros(thin, dtype=torch.uint8)})
    first = next(iter(state))
    for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.uint8):
        yield f"all-{dtype}", torch_bytes({key: tensor.to(dtype) for key, tensor in state.items()})
    for dtype in (torch.complex64, torch.float8_e4m3fn, torch.uint16):
        yield f"first-{dtype}", torch_bytes({**state, first: state[first].to(dtype)})
    for value in (float("nan"), float("inf"), 1e-40, 3e38):
        yield (
            f"all-{value}",
            torch_bytes(
                {
                    key: torch.full_like(tensor, value) if tensor.is_floating_point() else tensor
                    for key, tensor in state.items()
                }
            ),
        )
    yield "sparse", torch_bytes({**state, first: state[first].to_sparse()})
    yield "meta", torch_bytes({**state, first: state[first].to("meta")})
    yield (
        "parameters",
        torch_bytes({key: torch.nn.Parameter(tensor, tensor.is_floating_point()) for key, tensor in state.items()}),
    )
    for old in ("0", "1", "3"):
        for new in ("99999999", "9" * 400, "-1", "٣", "1e9", "0" * 300 + old):
            renamed = {key.replace(f".{old}.", f".{new}."): tensor for key, tensor in state.items()}
            yield f"numbered-{old}-{new[:8]}", torch_bytes({**state, **renamed})
    for number in range(3):
        yield f"counted-on-{number}", torch_bytes(repeated(state, number, 300, most=3_000))
    yield "counted-on-twice", torch_bytes(repeated(repeated(state, 0, 300, most=3_000), 1, 300, most=6_000))
    yield "deep-names", torch_bytes({f"{'module.' * 60}{key}": tensor for key, tensor in state.items()})


def make_places(folder: Path) -> Iterator[Path]:
    """Things that are no files of weights, or no files."""
    for suffix in (".pth", ".safetensors", ".param"):
        fifo, loop = folder / f"fifo{suffix}", folder / f"loop{suffix}"
        os.mkfifo(fifo)
        loop.symlink_to(loop)
        (folder / f"folder{suffix}").mkdir()
        for name, target in {
            "null": "/dev/null",
            "zero": "/dev/zero",
            "mem": "/proc/self/mem",
            "dangling": "/nowhere",
        }.items():
            (folder / f"{name}{suffix}").symlink_to(target)
        (folder / f"empty{suffix}").touch()
        sparse = folder / f"sparse{suffix}"
        with sparse.open("wb") as file:
            file.truncate(200 << 30)
    with (folder / "sparse-tensor.safetensors").open("wb") as file:
        header = json.dumps(
            {"body.0.weight": {"dtype": "F32", "shape": [50 << 30], "data_offsets": [0, 200 << 30]}}
        ).encode()
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + (200 << 30))
    (folder / "sparse-network.safetensors").write_bytes(b"")
    with (folder / "sparse-network.safetensors").open("r+b") as file:
        offset, entries = 0, {}
        for key, sizes in srvgg_sizes(20_000).items():
            size_bytes = 4 * int(np.prod(sizes))
            entries[key] = {"dtype": "F32", "shape": sizes, "data_offsets": [offset, offset + size_bytes]}
            offset += size_bytes
        written = json.dumps(entries).encode()
        file.write(struct.pack("<Q", len(written)) + written)
        file.truncate(8 + len(written) + offset)
    yield from sorted(folder.iterdir())


def srvgg_sizes(width: int) -> dict[str, list[int]]:
    """The sizes of the tensors of an SRVGGNetCompact."""
    with torch.device("meta"):
        return {
            key: list(tensor.shape)
            for key, tensor in rename_modules(
                srvgg(3, 3, scale=2, width=width, convs=1).state_dict(), srvgg_names(1)
            ).items()
        }


def make_files(folder: Path, canary: Path) -> Iterator[Path]:
    """Write all files, one at a time; each is removed once it was opened."""

    def written(name: str, data: bytes) -> Iterator[Path]:
        path = folder / name
        path.write_bytes(data)
        yield path
        path.unlink()

    for name, data in all_pickles(str(canary)).items():
        yield from written(f"pickle-{name}.pth", torch_zip(data))
        yield from written(f"bare-{name}.pth", data)
        yield from written(f"legacy-{name}.pth", legacy(data.replace(b"tQ", b"NtQ")))
    for name, data in zips():
        yield from written(f"zip-{name}.pth", data)
    for name, data in legacies():
        yield from written(f"old-{name}.pth", data)
    for name, data in safetensors_files():
        yield from written(f"st-{name}.safetensors", data)
    for name, data in ncnn_files():
        (folder / f"ncnn-{name}.bin").write_bytes(bytes(100))
        yield from written(f"ncnn-{name}.param", data)
        (folder / f"ncnn-{name}.bin").unlink()
    for family, state in published_networks().items():
        for name, data in networks(state):
            yield from written(f"network-{re.sub(r'[^A-Za-z0-9]+', '-', family)}-{name}.pth", data)
    places = folder / "places"
    places.mkdir()
    yield from make_places(places)


def never_listens(*_: Any) -> SimpleNamespace:
    """Stands in for the server of `serve`, which ends as soon as its models are open."""
    return SimpleNamespace(run=lambda sockets: None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="open each file with every command")
    parser.add_argument("--every", type=int, default=1, help="only each file of this number")
    parser.add_argument("--only", default="", help="only files with this word in their name")
    parser.add_argument("--keep", type=Path, help="the folder for the files that went wrong")
    options = parser.parse_args()
    setattr(server, "make_server", never_listens)  # noqa: B010 (a function of another type)
    with TemporaryDirectory() as place:
        folder = Path(place, "files")
        folder.mkdir()
        image, data, canary = Path(place, "image.png"), make_pairs(Path(place, "data")), Path(place, "canary")
        write(image, Picture(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)))
        out = f"{place}/out"
        commands = (
            "inspect {file}",
            f"apply {{file}} {image} {out} --device cpu",
            f"export {{file}} {out}.onnx",
            "serve {file} --port 0 --device cpu",
            f"train pix2pix --data {data} --out {out} --init-from {{file}} {TINY['pix2pix']} {SHORT}",
        )
        turn = cycle(commands)
        wrong, opened, slowest, largest = 0, 0, 0.0, 0
        for number, file in enumerate(make_files(folder, canary)):
            if options.only not in file.name or number % options.every:
                continue
            for command in commands if options.all else (next(turn),):
                arguments = [word.replace("{file}", str(file)) for word in shlex.split(command)]
                ended = run_apart(arguments, seconds=2 * EXPORT_SECONDS, memory_bytes=ADDRESS_BYTES)
                opened, slowest, largest = opened + 1, max(slowest, ended.seconds), max(largest, ended.peak_bytes)
                executed = canary.exists()
                allowed_s = EXPORT_SECONDS if arguments[0] == "export" else SECONDS
                if (
                    not ended.is_right()
                    or ended.code == 1
                    or executed
                    or ended.seconds > allowed_s
                    or ended.peak_bytes > MEMORY_BYTES
                ):
                    wrong += 1
                    reason = "EXECUTED" if executed else ended.error or f"exit code {ended.code}"
                    used = f"{ended.seconds:.1f} s, {ended.peak_bytes / 1e9:.1f} GB"
                    print(f"{reason}, {used}: {arguments[0]} {file.name}", flush=True)
                    canary.unlink(missing_ok=True)
                    if options.keep:
                        options.keep.mkdir(parents=True, exist_ok=True)
                        with suppress(OSError):
                            (options.keep / file.name).write_bytes(file.read_bytes()[: 100 << 20])
    print("\n| Files opened | Wrong | Slowest | Largest |\n|---|---|---|---|")
    print(f"| {opened} | {wrong} | {slowest:.1f} s | {largest / 1e9:.2f} GB |")
    return 1 if wrong else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a forked process has no threads of its parent
    torch.set_num_threads(1)
    sys.exit(main())

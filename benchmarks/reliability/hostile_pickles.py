"""Pickles of weights files that try to run code, to take memory or time, or to confuse their reader.

`hostile_weights.py` wraps them in files. Each is written instruction by instruction, because `pickle` writes none of
them. The module `pickletools` explains the instructions.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping

HEAD = b"\x80\2"
ORDERED = b"ccollections\nOrderedDict\n"
HASH_MODULUS = 2**61 - 1
"""Python hashes a whole number to its rest modulo this one."""
SMALL = 40
"""How often a doubling is repeated."""


def text(word: str | bytes) -> bytes:
    data = word if isinstance(word, bytes) else word.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def called(function: str, *arguments: bytes) -> bytes:
    module, _, name = function.rpartition(".")
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def storage(count: int = 16, key: bytes = text("0"), kind: str = "Float", *more: bytes) -> bytes:
    return (
        b"("
        + text("storage")
        + f"ctorch\n{kind}Storage\n".encode()
        + key
        + text("cpu")
        + number(count)
        + b"".join(more)
        + b"tQ"
    )


def tensor(
    offset: int, sizes: bytes, strides: bytes, content: bytes = b"", function: str = "_rebuild_tensor_v2"
) -> bytes:
    return called(
        f"torch._utils.{function}", content or storage(), number(offset), sizes, strides, b"\x89", ORDERED + b")R"
    )


PLAIN = tensor(0, numbers(16), numbers(1))


def holding(value: bytes, key: bytes = text("a")) -> bytes:
    """A pickle of a dict with one entry."""
    return HEAD + b"}" + key + value + b"s."


def doubled(kind: str, times: int = SMALL) -> bytes:
    """A list, dict or tuple that holds two of itself, repeatedly."""
    begin, middle, end = {
        "tuple": (b"", b"", b"\x86"),
        "list": (b"](", b"", b"e"),
        "dict": (b"}(" + text("a"), text("b"), b"u"),
    }[kind]
    innermost = {"tuple": b")", "list": b"]", "dict": b"}"}[kind]
    again = (b"q" + bytes([i]) + middle + b"h" + bytes([i]) + end for i in range(times))
    return begin * times + innermost + b"".join(again)


def nested(kind: str, depth: int = 100_000) -> bytes:
    begin, end = {
        "tuple": (b")", b"\x85"),
        "list": (b"]" * depth, b"a"),
        "dict": ((b"}" + b"N") * depth + b"N", b"s"),
    }[kind]
    return begin + end * (depth if kind != "list" else depth - 1)


def code_pickles(canary: str) -> dict[str, bytes]:
    """Pickles that would create the file `canary`."""
    command = text(f"touch {canary}")
    calls = (
        "os.system",
        "posix.system",
        "nt.system",
        "subprocess.call",
        "subprocess.getoutput",
        "builtins.exec",
        "builtins.eval",
        "__builtin__.eval",
        "pty.spawn",
        "os.popen",
        "runpy.run_path",
        "webbrowser.open",
        "torch.hub.load",
        "torch.utils.collect_env.run",
        "torch._dynamo.config",
        "numpy.f2py.crackfortran.getlincoef",
        "importlib.import_module",
        "shutil.rmtree",
        "pathlib.Path",
        "torch.load",
        "torch.jit.load",
        "torch.distributed.rpc.functions.async_execution",
        "torch.storage._load_from_bytes",
        "collections.Counter",
        "torch.serialization._legacy_load",
        "torch._utils._import_dotted_name",
        "torch.Tensor",
        "torch.Size",
        "torch.nn.modules.module.Module",
        "copyreg._reconstructor",
        "_codecs.encode",
        "functools.partial",
    )
    made = {f"call-{name}": holding(called(name, command)) for name in calls}
    two = command + b"\x85"
    return made | {
        "stack-global": HEAD + text("os") + text("system") + b"\x93" + two + b"R.",
        "stack-global-protocol-4": b"\x80\4" + text("os") + text("system") + b"\x93" + two + b"R.",
        "inst": b"(" + command + b"ios\nsystem\n.",
        "obj": b"(cos\nsystem\n" + command + b"o.",
        "newobj": HEAD + b"csubprocess\nPopen\n" + two + b"\x81.",
        "newobj-ex": b"\x80\4csubprocess\nPopen\n" + two + b"}\x92.",
        "build-setstate": HEAD + ORDERED + b")R}" + text("__setstate__") + b"cos\nsystem\ns" + b"b" + command + b"b.",
        "getattr-chain": HEAD + called("builtins.getattr", b"cos\n__dict__\n", text("system")) + two + b"R.",
        "extension": HEAD + b"\x82\1" + two + b"R.",
        "text-protocol-0": b"cos\nsystem\n(S'touch " + canary.encode() + b"'\ntR.",
        "global-with-dots": holding(called("torch._utils._rebuild_tensor_v2.__globals__", command)),
        "global-with-space": HEAD + b"ccollections OrderedDict\n\n" + two + b"R.",
        "persistent-module": holding(b"(" + text("module") + ORDERED + text(canary) + text("x") + b"tQ"),
        "persistent-text": b"Pstorage\n.",
        "persistent-number": holding(number(7) + b"Q"),
        "persistent-none": holding(b"NQ"),
        "persistent-empty": holding(b")Q"),
        "persistent-short": holding(text("storage") + b"\x85Q"),
        "persistent-list-for-type": holding(b"(" + text("storage") + b"]" + text("0") + text("cpu") + b"K\1tQ"),
        "buffers-out-of-band": b"\x80\5\x97\x98.",
    }


def doubled_pickles(kind: str) -> dict[str, bytes]:
    """Pickles with an object that holds two of itself, in each place where it could be copied or shown."""
    value = doubled(kind)
    return {
        f"doubled-{kind}": holding(value),
        f"doubled-{kind}-is-called": HEAD + value + b")R.",
        f"doubled-{kind}-is-built": HEAD + value + b"}b.",
        f"doubled-{kind}-is-stored": holding(value + b"\x85Q"),
        f"doubled-{kind}-as-storage": holding(b"(" + text("storage") + value + b"NNNtQ"),
        f"doubled-{kind}-as-size": holding(tensor(0, value, numbers(1))),
        f"doubled-{kind}-as-key": holding(b"N", value),
    }


def memory_pickles() -> dict[str, bytes]:
    """Pickles whose objects need far more memory or time than their bytes say."""
    pairs = b"]q\1(" + b"".join(b"](" + number(i) + b"Ne" for i in range(20_000)) + b"e"
    copies = HEAD + b"](" + pairs + ORDERED + b"q\2" + b"h\2h\1\x85R" * 20_000 + b"e."
    colliding = b"".join(number(i * HASH_MODULUS) + b"N" for i in range(1, 25_000))
    floats = b"".join(b"G" + struct.pack(">d", 2.0**61 * i) + b"\x85N" for i in range(1, 25_000))
    tuples = b"".join(b"h\0" + b"h" + bytes([i]) + b"\x86N" for i in range(1, 20)) * 5
    return {
        **doubled_pickles("tuple"),
        **doubled_pickles("list"),
        **doubled_pickles("dict"),
        **{f"nested-{kind}": holding(nested(kind)) for kind in ("tuple", "list", "dict")},
        "doubled-tuple-of-few-as-key": holding(b"N", doubled("tuple", 31)),
        "doubled-tuple-as-key-of-pairs": HEAD + ORDERED + b"](](" + doubled("tuple", 31) + b"Nee\x85R.",
        "copied-dicts": copies,
        "colliding-numbers": HEAD + b"}(" + colliding + b"u.",
        "colliding-tuples-of-floats": HEAD + b"}(" + floats + b"u.",
        "colliding-tuples": HEAD + b"}(" + tuples + b"u.",
        "tensor-as-pairs": holding(ORDERED + tensor(0, numbers(2**31 - 1, 2), numbers(0, 0)) + b"\x85R"),
        "tensor-as-arguments": holding(ORDERED + tensor(0, numbers(2**31 - 1), numbers(0)) + b"R"),
        "long-text": b"\x80\2X\0\0\0\x7fabc.",
        "long-text-protocol-4": b"\x80\4\x8d" + struct.pack("<Q", 1 << 40) + b"abc.",
        "long-bytes": b"\x80\4\x8e" + struct.pack("<Q", 1 << 40) + b"abc.",
        "long-bytearray": b"\x80\5\x96" + struct.pack("<Q", 1 << 40) + b"abc.",
        "long-frame": b"\x80\4\x95" + struct.pack("<Q", 1 << 62) + b"N.",
        "long-number": HEAD + b"\x8b" + struct.pack("<i", 400_000) + b"\7" * 400_000 + b".",
        "long-number-negative": HEAD + b"\x8b\xff\xff\xff\xff.",
        "long-number-in-digits": b"L" + b"9" * 400_000 + b"L\n.",
        "long-memo": HEAD + b"Nr\xff\xff\xff\xff.",
        "unknown-memo": HEAD + b"j\xff\xff\xff\xff.",
        "many-dicts": HEAD + b"](" + b"}" * 500_000 + b"e.",
        "many-marks": HEAD + b"(" * 500_000 + b".",
        "many-ordered-dicts": HEAD + b"](" + ORDERED + b"q\1" + b"h\1)R" * 120_000 + b"e.",
        "many-tensors": HEAD
        + b"}("
        + text("a")
        + PLAIN
        + b"q\1"
        + b"".join(number(i) + b"h\1" for i in range(60_000))
        + b"u.",
        "long-key": holding(PLAIN, text("k" * 400_000)),
        "long-key-of-a-number": holding(b"K\1", text("k" * 400_000)),
        "only-stop": b".",
        "nothing": b"",
        "negative-mark": HEAD + b"t.",
    }


def tensor_pickles() -> dict[str, bytes]:
    """Pickles of tensors that lie about their storage."""
    sixteen = numbers(16), numbers(1)
    big = 2**62
    odd = {
        "negative-offset": tensor(-1, *sixteen),
        "offset-after-end": tensor(1, *sixteen),
        "huge-offset": tensor(big, *sixteen),
        "negative-stride": tensor(15, numbers(16), numbers(-1)),
        "huge-stride": tensor(0, numbers(2), numbers(2**40)),
        "overflowing-stride": tensor(0, numbers(4, 4), numbers(big, big)),
        "no-stride": tensor(0, numbers(2**31 - 1, 2**31 - 1), numbers(0, 0)),
        "overflowing-size": tensor(0, numbers(2**31, 2**31, 2**31), numbers(0, 0, 0)),
        "negative-size": tensor(0, numbers(-4, -4), numbers(1, 1)),
        "no-size-and-huge": tensor(0, numbers(0, 2**62), numbers(1, 1)),
        "many-dimensions": tensor(0, numbers(*[1] * 5000), numbers(*[1] * 5000)),
        "sizes-are-texts": tensor(0, b"(" + text("a") + b"t", numbers(1)),
        "sizes-are-none": tensor(0, b"N", b"N"),
        "more-strides": tensor(0, numbers(16), numbers(1, 1, 1)),
        "storage-is-number": tensor(0, *sixteen, content=b"K\1"),
        "storage-longer": tensor(0, numbers(4096), numbers(1), content=storage(4096)),
        "storage-much-longer": tensor(0, numbers(2**28), numbers(1), content=storage(2**28)),
        "storage-huge": tensor(0, numbers(4), numbers(1), content=storage(2**60)),
        "storage-negative": tensor(0, numbers(4), numbers(1), content=storage(-16)),
        "storage-shorter": tensor(0, numbers(16), numbers(1), content=storage(4)),
        "storage-absent": tensor(0, *sixteen, content=storage(16, text("absent"))),
        "storage-outside": tensor(0, *sixteen, content=storage(16, text("../version"))),
        "storage-is-pickle": tensor(0, *sixteen, content=storage(16, text("../data.pkl"))),
        "storage-key-is-tuple": tensor(0, *sixteen, content=storage(16, doubled("tuple", 31))),
        "storage-key-is-number": tensor(0, *sixteen, content=storage(16, number(0))),
        "storage-as-two-types": b"](" + storage(16, text("0"), "Byte") + b"e" + b"0" + PLAIN,
        "storage-unknown-type": tensor(0, *sixteen, content=storage(16, text("0"), "QInt8")),
        "storage-complex": tensor(0, numbers(8), numbers(1), content=storage(8, text("0"), "ComplexFloat")),
        "storage-untyped": tensor(0, *sixteen, content=storage(64, text("0"), "Untyped")),
        "storage-with-view": tensor(0, *sixteen, content=storage(16, text("0"), "Float", numbers(1, 0, 2**40))),
        "is-reshaped": PLAIN + b"(" + storage() + number(0) + numbers(2**28) + numbers(1) + b"tb",
        "hooks-are-numbers": called("torch._utils._rebuild_parameter", PLAIN, b"\x88", b"K\1"),
        "hooks-are-functions": called(
            "torch._utils._rebuild_parameter", PLAIN, b"\x88", ORDERED + b")R}" + text("a") + ORDERED + b"sb"
        ),
        "parameter-of-ints": called(
            "torch._utils._rebuild_parameter",
            tensor(0, *sixteen, content=storage(16, text("0"), "Int")),
            b"\x88",
            ORDERED + b")R",
        ),
        "parameter-of-none": called("torch._utils._rebuild_parameter", b"N", b"\x88", b"N"),
        "parameter-with-state": called("torch._utils._rebuild_parameter_with_state", PLAIN, b"\x88", b"}", b"}"),
        "negated": called(
            "torch._utils._rebuild_tensor_v2",
            storage(),
            number(0),
            *sixteen,
            b"\x89",
            ORDERED + b")R",
            b"}" + text("neg") + b"\x88s",
        ),
        "metadata-is-list": called(
            "torch._utils._rebuild_tensor_v2", storage(), number(0), *sixteen, b"\x89", ORDERED + b")R", b"]"
        ),
        "sparse": called("torch._utils._rebuild_sparse_tensor", b"ctorch\nsparse_coo\n", numbers(1)),
        "nested": called("torch._utils._rebuild_nested_tensor", PLAIN, PLAIN, PLAIN, PLAIN),
        "quantised": called("torch._utils._rebuild_qtensor", storage(), number(0), *sixteen, b")", b"\x89", b"}"),
        "meta": called(
            "torch._utils._rebuild_meta_tensor_no_storage",
            b"ctorch\nfloat32\n",
            numbers(2**31, 2**31),
            numbers(1, 1),
            b"\x89",
        ),
        "wrapper": called(
            "torch._utils._rebuild_wrapper_subclass", b"ctorch\nTensor\n", b"N", *sixteen, b"K\0", b"N", b"N", b"\x89"
        ),
        "other-type": called(
            "torch._tensor._rebuild_from_type_v2", b"cos\nsystem\n", b"ctorch\nTensor\n", b")", b"}"
        ),
        "other-device": called(
            "torch._utils._rebuild_device_tensor_from_numpy", PLAIN, b"ctorch\nfloat32\n", text("cpu"), b"\x89"
        ),
    }
    kept = {name: holding(made) for name, made in odd.items()}
    state = ORDERED + b")R}" + b"(" + text("a") + PLAIN + b"u"
    for name in ("items", "values", "keys", "get", "__class__", "_metadata", "__len__"):
        built = ORDERED + b")R(" + text("a") + PLAIN + b"u}" + text(name) + b"K\1sb"
        kept[f"attribute-{name}"] = HEAD + built + b"."
        kept[f"attribute-{name}-inside"] = holding(built, text("params"))
    return kept | {
        "whole-state": HEAD + state + b".",
        "key-is-tensor": holding(PLAIN, PLAIN),
        "key-is-dict": holding(PLAIN, b"}"),
        "key-is-number": holding(PLAIN, b"K\1"),
        "key-is-none": holding(PLAIN, b"N"),
        "key-is-bytes": HEAD + b"}U\1a" + PLAIN + b"s.",
        "key-is-half-a-character": HEAD + b"}X\3\0\0\0\xed\xa0\x80" + PLAIN + b"s.",
        "key-has-controls": HEAD + b"}" + text("\x1b[2J\x1b]0;owned\7\r\n\0") + PLAIN + b"s.",
        "dict-in-itself": HEAD + b"}q\1" + text("a") + b"h\1s.",
        "list-in-itself": HEAD + b"]q\1h\1a.",
        "list-of-tensors": HEAD + b"](" + PLAIN + b"e.",
        "tensor": HEAD + PLAIN + b".",
        "rest-of-stack": HEAD + b"NNNN}.",
        "item-of-tensor": HEAD + PLAIN + text("a") + b"Ns.",
        "item-of-list": HEAD + b"]" + text("a") + b"Ns.",
        "appended-to-tensor": HEAD + PLAIN + b"Na.",
    }


def all_pickles(canary: str) -> Mapping[str, bytes]:
    return {**code_pickles(canary), **memory_pickles(), **tensor_pickles()}

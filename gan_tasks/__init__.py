"""GANs for images: train on a folder of images, evaluate, deploy.

    model = gan_tasks.load("runs/facades")      # a run folder, an .onnx file or a public .pth file
    after = model(before)                       # H×W×C uint8 → H×W×C uint8

    gan_tasks.train(gan_tasks.Pix2Pix(l1=50.0), data="facades", out="runs/facades")

This is the public module. It is the only module of this layer that names parts of `export`, and it imports a part
when its name is used. If PyTorch is not loaded yet, importing it sets how PyTorch's threads wait (see `threads.py`).
"""

import importlib
from typing import TYPE_CHECKING, Any

from gan_tasks.threads import let_waiting_threads_sleep

if TYPE_CHECKING:
    from gan_tasks.export.inference.predictor import PredictOptions
    from gan_tasks.export.inference.synthesis.generate import generate
    from gan_tasks.export.inference.synthesis.latent_space import LatentSpace
    from gan_tasks.export.load import load, load_chain
    from gan_tasks.tasks.colourisation import Colourisation, ColourisationConfig
    from gan_tasks.tasks.cut import CUT, CUTConfig
    from gan_tasks.tasks.cyclegan import CycleGAN, CycleGANConfig
    from gan_tasks.tasks.inpainting import Inpainting, InpaintingConfig
    from gan_tasks.tasks.pix2pix import Pix2Pix, Pix2PixConfig
    from gan_tasks.tasks.restoration import Restoration, RestorationConfig
    from gan_tasks.tasks.stylization import Stylization, StylizationConfig
    from gan_tasks.tasks.super_resolution import SuperResolution, SuperResolutionConfig
    from gan_tasks.training.config import TrainConfig
    from gan_tasks.training.loop import resume, train

__all__ = [
    "CUT",
    "CUTConfig",
    "Colourisation",
    "ColourisationConfig",
    "CycleGAN",
    "CycleGANConfig",
    "Inpainting",
    "InpaintingConfig",
    "LatentSpace",
    "Pix2Pix",
    "Pix2PixConfig",
    "PredictOptions",
    "Restoration",
    "RestorationConfig",
    "Stylization",
    "StylizationConfig",
    "SuperResolution",
    "SuperResolutionConfig",
    "TrainConfig",
    "__version__",
    "generate",
    "load",
    "load_chain",
    "resume",
    "train",
]
__version__ = "0.1.0"

_HOME = {
    "CUT": "gan_tasks.tasks.cut",
    "CUTConfig": "gan_tasks.tasks.cut",
    "Colourisation": "gan_tasks.tasks.colourisation",
    "ColourisationConfig": "gan_tasks.tasks.colourisation",
    "CycleGAN": "gan_tasks.tasks.cyclegan",
    "CycleGANConfig": "gan_tasks.tasks.cyclegan",
    "Inpainting": "gan_tasks.tasks.inpainting",
    "InpaintingConfig": "gan_tasks.tasks.inpainting",
    "Pix2Pix": "gan_tasks.tasks.pix2pix",
    "Pix2PixConfig": "gan_tasks.tasks.pix2pix",
    "Restoration": "gan_tasks.tasks.restoration",
    "RestorationConfig": "gan_tasks.tasks.restoration",
    "Stylization": "gan_tasks.tasks.stylization",
    "StylizationConfig": "gan_tasks.tasks.stylization",
    "SuperResolution": "gan_tasks.tasks.super_resolution",
    "SuperResolutionConfig": "gan_tasks.tasks.super_resolution",
    "TrainConfig": "gan_tasks.training.loop",
    "LatentSpace": "gan_tasks.export.inference.synthesis.latent_space",
    "generate": "gan_tasks.export.inference.synthesis.generate",
    "PredictOptions": "gan_tasks.export.inference.predictor",
    "load": "gan_tasks.export.load",
    "load_chain": "gan_tasks.export.load",
    "resume": "gan_tasks.training.loop",
    "train": "gan_tasks.training.loop",
}

let_waiting_threads_sleep()


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)

"""Write generators as checkpoints of JY, https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix, pix2pixHD and CUT.

`gan_tasks/pretrained/translation/` reads such files.
"""

import io
from pathlib import Path

import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import atomic
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import ResidualBlock
from gan_tasks.pretrained.conversion import rename_modules
from gan_tasks.pretrained.translation.cut import Blurs, resnet_blurs, with_filters
from gan_tasks.pretrained.translation.jy import resnet_names, unet_names


def to_jy(generator: Generator) -> dict[str, Tensor]:
    """Return a copy of the tensors of a U-Net or ResNet on the CPU, with exactly the keys that JY's code loads.

    A ResNet with another number of downs than 2 gets the keys of pix2pixHD's GlobalGenerator. That network has no
    dropout, and here it must have instance norm. A ResNet that blurs where its size changes gets those of CUT's.

    Raises UserError for a generator that none of the projects has.
    """

    def has(kind: type[nn.Module]) -> bool:
        return any(isinstance(module, kind) for module in generator.modules())

    downs, state = len(generator.downs), generator.state_dict()
    is_affine = any(isinstance(module, nn.InstanceNorm2d) and module.affine for module in generator.modules())
    is_jy = generator.skips or downs == 2
    upsamplings = [module.mode for module in generator.modules() if isinstance(module, nn.Upsample)]
    anti_alias, bilinear = has(nn.AvgPool2d), "bilinear" in upsamplings
    blurs = Blurs()
    if generator.skips:
        names = unet_names(downs + 1)
    else:
        blocks = sum(isinstance(module, ResidualBlock) for module in generator.modules())
        blurs = resnet_blurs(downs, blocks, anti_alias=anti_alias, bilinear=bilinear)
        dropout = is_jy and has(nn.Dropout)
        names = resnet_names(downs, blocks, dropout=dropout, anti_alias=anti_alias, bilinear=bilinear)
    has_its_norm = has(nn.InstanceNorm2d) or (is_jy and has(nn.BatchNorm2d))
    if (
        is_affine
        or not has_its_norm
        or (blurs != Blurs() and not is_jy)
        or any(key.rpartition(".")[0] not in names for key in state)
    ):
        raise UserError(
            "this generator has no counterpart in pytorch-CycleGAN-and-pix2pix, CUT or pix2pixHD: expected a U-Net "
            "or a ResNet of 2 downs, with batch or instance norm, or a ResNet of more downs with instance norm"
        )
    copies = {key: tensor.detach().to("cpu", copy=True).contiguous() for key, tensor in state.items()}
    return with_filters(rename_modules(copies, names), blurs)


def write_jy(path: Path | str, generator: Generator) -> None:
    """Write `to_jy(generator)` to a file that JY's code loads, such as `latest_net_G.pth`.

    Raises UserError as `to_jy` does, and OSError if the file cannot be written (disk full, read-only folder). An
    existing file is then left as it was.
    """
    buffer = io.BytesIO()
    torch.save(to_jy(generator), buffer)
    atomic.write_bytes(Path(path), buffer.getvalue())

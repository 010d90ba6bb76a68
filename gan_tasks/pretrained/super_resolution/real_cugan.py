"""Checkpoints of Real-CUGAN: https://github.com/bilibili/ailab/tree/main/Real-CUGAN.

Our modules have the published names. The files of its `pro` networks contain an entry `pro` besides.
"""

from gan_tasks.networks.sizes import sizes_of
from gan_tasks.networks.super_resolution.real_cugan import RealCugan, Widths
from gan_tasks.pretrained.conversion import Architecture, State, Usage, assemble, conv_channels
from gan_tasks.pretrained.files.unwrap import VARIANT_MARKER
from gan_tasks.spec import InputSpec, ModelSpec


def is_real_cugan(state: State) -> bool:
    return all(f"{name}.weight" in state for name in ("unet1.conv_bottom", "unet2.conv_bottom", "unet2.conv4_up"))


def build_real_cugan(state: State) -> RealCugan:
    """Build an UpCunet2x, 3x or 4x: the scale follows from the layers that enlarge, the widths from the shapes."""
    tensors = {key: tensor for key, tensor in state.items() if key != VARIANT_MARKER}
    first, in_channels = conv_channels(state, "unet1.conv1.conv.0")
    widths = Widths(
        first,
        features=conv_channels(state, "unet1.conv1.conv.2")[0],
        middle=conv_channels(state, "unet1.conv2.conv.0")[0],
        deep=conv_channels(state, "unet2.conv3.conv.0")[0],
    )
    if "conv_final.weight" in state:
        # The image is added to the output, so both have the same number of channels.
        scale, out_channels = 4, in_channels
    else:
        _, out_channels = conv_channels(state, "unet1.conv_bottom")
        scale = 3 if state["unet1.conv_bottom.weight"].shape[-1] == 5 else 2
    return assemble(
        lambda: RealCugan(
            in_channels,
            out_channels,
            scale=scale,
            widths=widths,
            attention=any(".seblock." in key for key in tensors),
            pro=VARIANT_MARKER in state,
        ),
        {},
        tensors,
    )


def real_cugan_usage(network: RealCugan) -> Usage:
    spec = ModelSpec(
        "super-resolution",
        "upscale",
        (InputSpec("image", "image", network.in_channels, "any"),),
        network.out_channels,
        scale=network.scale,
        **sizes_of(network)._asdict(),
    )
    return Usage(spec, network.widths.first, (0.0, 1.0))


def real_cugan_example() -> State:
    return RealCugan(scale=2, widths=Widths(8, 8, 8, 8)).state_dict()


REAL_CUGAN = Architecture(
    "Real-CUGAN",
    "UpCunet",
    is_real_cugan,
    build_real_cugan,
    real_cugan_example,
    real_cugan_usage,
    files="scales 2, 3 and 4, `pro`, and without squeeze-and-excitation",
)

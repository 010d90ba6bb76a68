"""The colour space that the chunks of a PNG declare, the order of precedence among them, and texts of any size."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from gan_tasks.datasets.images import Picture, read, to_srgb
from gan_tasks.datasets.images.colour_spaces import SRGB_CURVE, Curve, Primaries, gray_profile, rgb_profile
from gan_tasks.datasets.images.png_chunks import chunk, with_chunks

RNG = np.random.default_rng(0)
RGB = RNG.integers(30, 256, (6, 7, 3), dtype=np.uint8)
P3 = Primaries((0.68, 0.32), (0.265, 0.69), (0.15, 0.06))
P3_PROFILE, GRAY_PROFILE = rgb_profile(SRGB_CURVE, P3), gray_profile(Curve(1.8))

GAMMA = (b"gAMA", struct.pack(">I", 100_000))
SRGB_GAMMA = (b"gAMA", struct.pack(">I", 45_455))
SRGB_CHUNK = (b"sRGB", b"\0")
SRGB_CHRM = (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
P3_CHRM = (b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))
NO_CHRM = (b"cHRM", bytes(32))
ICCP = (b"iCCP", b"name\0\0" + zlib.compress(P3_PROFILE))


def cicp(primaries: int, transfer: int, matrix: int = 0, full: int = 1) -> tuple[bytes, bytes]:
    return b"cICP", bytes((primaries, transfer, matrix, full))


def png(*chunks: tuple[bytes, bytes], pixels: np.ndarray = RGB) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return with_chunks(file.getvalue(), chunks)


def light_of_half(picture: Picture) -> float:
    """Return the light of the level 128, by way of the conversion to sRGB."""
    assert picture.icc_profile is not None
    channels = picture.pixels.shape[2]
    half = np.full((1, 1, channels), 128, np.uint8)
    value = to_srgb(Picture(half, picture.icc_profile)).pixels[0, 0, 0] / 255
    return float(((value + 0.055) / 1.055) ** 2.4)


LEVEL = 128 / 255
SRGB_LIGHT = ((LEVEL + 0.055) / 1.055) ** 2.4
LIGHT = [
    ((GAMMA,), LEVEL),
    ((GAMMA, SRGB_CHRM), LEVEL),
    ((GAMMA, NO_CHRM), LEVEL),
    (((b"gAMA", struct.pack(">I", 55_556)),), LEVEL**1.8),
    ((cicp(1, 8),), LEVEL),
    ((cicp(1, 4),), LEVEL**2.2),
    ((cicp(9, 14),), ((LEVEL + 0.099) / 1.099) ** (1 / 0.45)),
]
LIGHT_OF_RGB = [
    ((P3_CHRM,), SRGB_LIGHT),
    ((cicp(12, 13),), SRGB_LIGHT),
    ((GAMMA, cicp(12, 13)), SRGB_LIGHT),
    ((cicp(1, 8), ICCP), LEVEL),
    ((GAMMA, ICCP), SRGB_LIGHT),
]


@pytest.mark.parametrize(
    ("channels", "chunks", "light"),
    [
        *((channels, *case) for channels in (1, 3, 4) for case in LIGHT),
        *((channels, *case) for channels in (3, 4) for case in LIGHT_OF_RGB),
    ],
)
def test_the_curve_is_that_of_the_first_chunk_in_precedence(
    channels: int, chunks: tuple[tuple[bytes, bytes], ...], light: float
) -> None:
    pixels = RNG.integers(0, 256, (6, 7, channels), dtype=np.uint8)
    picture = read(png(*chunks, pixels=pixels[..., 0] if channels == 1 else pixels))
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.notes == ()
    assert light_of_half(picture) == pytest.approx(light, abs=0.012)


@pytest.mark.parametrize("chunks", [(P3_CHRM,), (cicp(12, 13),), (P3_CHRM, cicp(12, 13), GAMMA)])
def test_primaries_become_a_profile(chunks: tuple[tuple[bytes, bytes], ...]) -> None:
    picture = read(png(*chunks))
    expected = to_srgb(Picture(RGB, P3_PROFILE)).pixels.astype(int)
    assert np.abs(to_srgb(picture).pixels - expected).max() <= 1
    assert np.abs(expected - RGB).max() > 5


@pytest.mark.parametrize(
    "chunks",
    [
        (),
        (SRGB_GAMMA,),
        (SRGB_GAMMA, SRGB_CHRM),
        (SRGB_CHRM,),
        (SRGB_CHUNK, GAMMA),
        (SRGB_CHUNK, P3_CHRM),
        (cicp(1, 13), ICCP),
        ((b"gAMA", bytes(4)),),
        ((b"gAMA", b"\xff\xff\xff\xff"),),
        (NO_CHRM,),
        ((b"iCCP", b"name\0\0" + zlib.compress(GRAY_PROFILE)),),
        ((b"iCCP", b"name\0\0no zlib"),),
        ((b"iCCP", b"name\0\0" + zlib.compress(b"no profile")),),
    ],
)
def test_srgb_and_damaged_chunks_need_no_profile(chunks: tuple[tuple[bytes, bytes], ...]) -> None:
    picture = read(png(*chunks))
    assert picture.icc_profile is None and picture.notes == ()
    np.testing.assert_array_equal(picture.pixels, RGB)


@pytest.mark.parametrize(
    ("chunk_of_hdr", "words"),
    [
        (cicp(9, 16), "HDR with PQ"),
        (cicp(9, 18), "HDR with HLG"),
        (cicp(1, 13, full=0), "no ICC profile"),
        (cicp(2, 2), "no ICC profile"),
    ],
)
def test_colours_that_no_profile_holds_are_said(chunk_of_hdr: tuple[bytes, bytes], words: str) -> None:
    picture = read(png(chunk_of_hdr, (b"cLLI", bytes(8)), ICCP))
    assert len(picture.notes) == 1 and words in picture.notes[0]
    assert picture.coding.png_chunks == (chunk_of_hdr, (b"cLLI", bytes(8)))
    assert picture.icc_profile == P3_PROFILE  # the file's own approximation


MEGABYTES = b"a" * (3 << 20)
LARGE = {
    "zTXt": (b"zTXt", b"key\0\0" + zlib.compress(MEGABYTES)),
    "compressed iTXt": (b"iTXt", b"key\0\1\0\0\0" + zlib.compress(MEGABYTES)),
    "iTXt": (b"iTXt", b"key\0\0\0\0\0" + 23 * MEGABYTES),
    "tEXt": (b"tEXt", b"key\0" + 23 * MEGABYTES),
    "XMP": (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + MEGABYTES),
    "EXIF": (b"eXIf", b"MM\0\x2a\0\0\0\x08\0\0\0\0\0\0" + MEGABYTES),
}


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        *((kind, "after") for kind in LARGE),
        *((kind, "before") for kind in ("zTXt", "compressed iTXt", "XMP", "EXIF")),
    ],
)
def test_large_metadata_does_not_refuse_an_image(kind: str, place: str) -> None:
    exif = Image.Exif()
    exif[274] = 3
    data = png() if kind == "EXIF" else png((b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
    end = len(data) - 12  # IEND
    data = with_chunks(data, [LARGE[kind]]) if place == "before" else data[:end] + chunk(*LARGE[kind]) + data[end:]
    np.testing.assert_array_equal(read(data).pixels, RGB if kind == "EXIF" else RGB[::-1, ::-1])


@pytest.mark.parametrize(("size", "is_kept"), [(2 << 20, True), (9 << 20, False)])
def test_profiles_of_megabytes(size: int, is_kept: bool) -> None:
    profile = struct.pack(">I", size) + P3_PROFILE[4:].ljust(size - 4, b"\0")
    picture = read(png((b"iCCP", b"name\0\0" + zlib.compress(profile))))
    np.testing.assert_array_equal(picture.pixels, RGB)
    assert picture.icc_profile == (profile if is_kept else None)
    assert bool(picture.notes) != is_kept


def test_texts_do_not_hide_that_an_image_is_animated_or_damaged() -> None:
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="animated"):
        read(with_chunks(file.getvalue(), [LARGE["zTXt"]]))
    with pytest.raises(ValueError, match="cannot be decoded"):
        read(png(LARGE["zTXt"])[:-60])


def test_littlecms_reads_the_profiles_that_are_made() -> None:
    for data in (png(GAMMA), png(P3_CHRM), png(GAMMA, pixels=RGB[..., 0])):
        profile = read(data).icc_profile
        assert profile is not None
        assert ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip()

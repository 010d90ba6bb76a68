"""Data beside a frame: what can be kept for H.264, and what is named as lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
from av.sidedata.sidedata import SideData
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame

CHROMATICITY_UNIT, LUMINANCE_UNIT = 50_000, 10_000
"""Steps per unit of chromaticity, and per cd/m², in the SEI messages of H.264 (ITU-T H.264, D.1.29)."""
LOST = {
    SideDataType.A53_CC: "closed captions",
    SideDataType.DYNAMIC_HDR_PLUS: "HDR10+ metadata",
    SideDataType.DYNAMIC_HDR_VIVID: "HDR Vivid metadata",
    SideDataType.DOVI_METADATA: "Dolby Vision metadata",
    SideDataType.DOVI_RPU_BUFFER: "Dolby Vision metadata",
    SideDataType.STEREO3D: "the arrangement of its stereo pictures",
    SideDataType.SPHERICAL: "the projection of its spherical video",
    SideDataType.ICC_PROFILE: "its ICC profile",
}
"""Side data that the result lacks, and what it is called."""


def side_data_of(frame: VideoFrame) -> Mapping[SideDataType, SideData]:
    """Return the side data of a frame by its type."""
    return {data.type: data for data in cast("list[SideData]", frame.side_data)}  # PyAV's types are incomplete


def lost_side_data(frame: VideoFrame) -> list[str]:
    """Return the names of the frame's side data that the result lacks."""
    found = side_data_of(frame)
    return list(dict.fromkeys(name for kind, name in LOST.items() if kind in found))


def static_hdr(frame: VideoFrame) -> str:
    """Return the HDR10 metadata (SMPTE ST 2086, CTA-861.3) as parameters of x264; empty for none."""
    found, parameters = side_data_of(frame), list[str]()
    if SideDataType.MASTERING_DISPLAY_METADATA in found:
        # FFmpeg's AVMasteringDisplayMetadata: red, green, blue and white (x, y), minimum and maximum luminance, as
        # rational numbers; then whether the colours, and the luminance, are known.
        fields = np.frombuffer(bytes(found[SideDataType.MASTERING_DISPLAY_METADATA]), np.int32)
        ratios = fields[:20].reshape(10, 2).astype(float)
        values = ratios[:, 0] / np.maximum(ratios[:, 1], 1)
        if fields[20] and fields[21]:
            x_y = np.rint(values[:8] * CHROMATICITY_UNIT).astype(int).reshape(4, 2)
            red, green, blue, white = (f"({x},{y})" for x, y in x_y)
            darkest, brightest = np.rint(values[8:] * LUMINANCE_UNIT).astype(int)
            parameters.append(f"mastering-display=G{green}B{blue}R{red}WP{white}L({brightest},{darkest})")
    if SideDataType.CONTENT_LIGHT_LEVEL in found:
        most, average = np.frombuffer(bytes(found[SideDataType.CONTENT_LIGHT_LEVEL]), np.uint32)[:2]
        parameters.append(f"cll={most},{average}")
    return ":".join(parameters)

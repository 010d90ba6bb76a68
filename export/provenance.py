"""The mark that an image was made by a model: XMP as IPTC and camera makers, editors and platforms read it.

`Iptc4xmpExt:DigitalSourceType` says that trained algorithms made it (https://cv.iptc.org/newscodes/digitalsourcetype),
`Iptc4xmpExt:AISystemUsed` with which model (IPTC Photo Metadata Standard 2025.1), `xmp:CreatorTool` in which program.
Imports no torch.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED = "trainedAlgorithmicMedia"
COMPOSITE = "compositeWithTrainedAlgorithmicMedia"

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
XMP = "http://ns.adobe.com/xap/1.0/"
MAX_PACKET_BYTES = 2**20


@dataclass(frozen=True)
class Mark:
    """What an image says of its making; empty where it says nothing.

    source_type: the last part of the IPTC term, such as `trainedAlgorithmicMedia`.
    """

    source_type: str
    model: str
    creator_tool: str


def xmp(model: str, version: str, *, composite: bool = False) -> bytes:
    """An XMP packet in UTF-8, for `datasets.image.write`.

    Args:
        model: the model's name; characters that cannot be printed are left out, for XML has no place for them.
        version: of gan-tasks.
        composite: only a part of the image is the model's, as in inpainting.
    """
    source_type = SOURCE_TYPES + (COMPOSITE if composite else GENERATED)
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="{RDF}">
  <rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{IPTC}" xmlns:xmp="{XMP}"
   Iptc4xmpExt:DigitalSourceType={quoteattr(source_type)}
   Iptc4xmpExt:AISystemUsed={quoteattr("".join(filter(str.isprintable, model)))}
   xmp:CreatorTool={quoteattr(f"gan-tasks {version}")}/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>""".encode()


def read_xmp(path: Path) -> Mark | None:
    """The mark of an image file, whoever wrote it; None where it has none that can be read.

    The packet is found by scanning the file, as XMP provides for: it lies uncompressed in PNG, JPEG, WebP and TIFF.
    Raises OSError for a file that cannot be read.
    """
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            start = data.find(b"<x:xmpmeta")
            end = data.find(b"</x:xmpmeta>", max(start, 0))
            if start < 0 or not 0 <= end - start <= MAX_PACKET_BYTES:
                return None
            packet = data[start : end + len(b"</x:xmpmeta>")]
    if b"<!" in packet:  # XMP has no use for entity declarations, which could expand to gigabytes
        return None
    try:
        tree = ElementTree.fromstring(packet)
    except ElementTree.ParseError:
        return None
    source_type = find_property(tree, IPTC, "DigitalSourceType")
    if not source_type:
        return None
    return Mark(
        source_type=source_type.rpartition("/")[2],
        model=find_property(tree, IPTC, "AISystemUsed"),
        creator_tool=find_property(tree, XMP, "CreatorTool"),
    )


def find_property(tree: ElementTree.Element, namespace: str, name: str) -> str:
    """A property's value, which XMP allows to be written as an attribute or as an element; else the empty string."""
    key = f"{{{namespace}}}{name}"
    for description in tree.iter(f"{{{RDF}}}Description"):
        if value := description.get(key) or (description.findtext(key) or "").strip():
            return value
    return ""

"""The mark that an image was made by a model: XMP as IPTC and camera makers, editors and platforms read it.

`Iptc4xmpExt:DigitalSourceType` says that trained algorithms made it (https://cv.iptc.org/newscodes/digitalsourcetype),
`Iptc4xmpExt:AISystemUsed` and `AISystemVersionUsed` with which model (IPTC Photo Metadata Standard 2025.1),
`xmp:CreatorTool` in which program, `dc:source` from what.
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
DC = "http://purl.org/dc/elements/1.1/"
MAX_PACKET_BYTES = 2**20
PROGRAM = "gan-tasks"
"""What `creator_tool` begins with in our own marks; the version follows."""


@dataclass(frozen=True)
class Mark:
    """What an image says of its making; empty where it says nothing.

    source_type: the last part of the IPTC term, such as `trainedAlgorithmicMedia`; empty where only the program is
        named.
    model_version, source: as `apply` writes them, `sha256:…` of the model's file and of the image that it was given.
    """

    source_type: str
    model: str
    creator_tool: str
    model_version: str = ""
    source: str = ""


def xmp(
    model: str,
    version: str,
    *,
    composite: bool = False,
    untouched: bool = False,
    model_version: str = "",
    source: str = "",
) -> bytes:
    """An XMP packet in UTF-8, for `datasets.image.write`.

    Args:
        model: the model's name; characters that cannot be printed are left out, for XML has no place for them.
        version: of gan-tasks.
        composite: only a part of the image is the model's, as in inpainting.
        untouched: nothing of it is. Then program and source are told, and no model.
        model_version, source: see `Mark`; left out where empty.
    """
    properties = {
        "Iptc4xmpExt:DigitalSourceType": SOURCE_TYPES + (COMPOSITE if composite else GENERATED),
        "Iptc4xmpExt:AISystemUsed": "".join(filter(str.isprintable, model)),
        "Iptc4xmpExt:AISystemVersionUsed": model_version,
        "dc:source": source,
        "xmp:CreatorTool": f"{PROGRAM} {version}",
    }
    if untouched:
        properties = {name: value for name, value in properties.items() if not name.startswith("Iptc4xmpExt")}
    attributes = "\n   ".join(f"{name}={quoteattr(value)}" for name, value in properties.items() if value)
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="{RDF}">
  <rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{IPTC}" xmlns:xmp="{XMP}" xmlns:dc="{DC}"
   {attributes}/>
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
    mark = Mark(
        source_type=find_property(tree, IPTC, "DigitalSourceType").rpartition("/")[2],
        model=find_property(tree, IPTC, "AISystemUsed"),
        creator_tool=find_property(tree, XMP, "CreatorTool"),
        model_version=find_property(tree, IPTC, "AISystemVersionUsed"),
        source=find_property(tree, DC, "source"),
    )
    return mark if mark.source_type or mark.creator_tool.startswith(PROGRAM) else None


def find_property(tree: ElementTree.Element, namespace: str, name: str) -> str:
    """A property's value, which XMP allows to be written as an attribute or as an element; else the empty string."""
    key = f"{{{namespace}}}{name}"
    for description in tree.iter(f"{{{RDF}}}Description"):
        if value := description.get(key) or (description.findtext(key) or "").strip():
            return value
    return ""

"""Mark an image as made by a model, with XMP metadata that editors and platforms read. Imports no torch.

- `Iptc4xmpExt:DigitalSourceType`: a trained algorithm made it (https://cv.iptc.org/newscodes/digitalsourcetype).
- `Iptc4xmpExt:AISystemUsed` and `AISystemVersionUsed`: the model (IPTC Photo Metadata Standard 2025.1).
- `Iptc4xmpExt:AIPromptInformation`: what the image was generated from, such as a seed (ibid.).
- `xmp:CreatorTool`: the program.
- `dc:source`: the input files.
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
"""Beginning of `creator_tool` in our marks; the version follows."""


@dataclass(frozen=True)
class Mark:
    """The mark of an image; a field is empty if it is not in the image.

    source_type: the last part of the IPTC term, such as `trainedAlgorithmicMedia`; empty if no model changed the
        image.
    model_version, source: `sha256:…` of the model's file and of the input files, as `apply` writes them.
    generated_from: the JSON text of the seed or latent of a generated image; see `synthesis/points.py`.
    """

    source_type: str
    model: str
    creator_tool: str
    model_version: str = ""
    source: str = ""
    generated_from: str = ""


def xmp(
    model: str,
    version: str,
    *,
    composite: bool = False,
    untouched: bool = False,
    model_version: str = "",
    source: str = "",
    generated_from: str = "",
) -> bytes:
    """Return an XMP packet in UTF-8, for `datasets.images.write`.

    Args:
        model: the model's name; characters that cannot be printed are left out, because XML does not allow them.
        version: version of gan-tasks.
        composite: whether the model made only a part of the image, as in inpainting.
        untouched: whether the model changed nothing; then the mark names the program and source, but no model.
        model_version, source, generated_from: see `Mark`; left out if empty.
    """
    properties = {
        "Iptc4xmpExt:DigitalSourceType": SOURCE_TYPES + (COMPOSITE if composite else GENERATED),
        "Iptc4xmpExt:AISystemUsed": "".join(filter(str.isprintable, model)),
        "Iptc4xmpExt:AISystemVersionUsed": model_version,
        "Iptc4xmpExt:AIPromptInformation": generated_from,
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
    """Read the mark of an image file of any program; return None if it has none, or an invalid one.

    The file is scanned for the packet, as XMP allows: it is not compressed in PNG, JPEG, WebP and TIFF.
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
    if b"<!" in packet:  # XMP needs no entity declarations, which could expand to gigabytes
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
        generated_from=find_property(tree, IPTC, "AIPromptInformation"),
    )
    return mark if mark.source_type or mark.creator_tool.startswith(PROGRAM) else None


def find_property(tree: ElementTree.Element, namespace: str, name: str) -> str:
    """Return the value of a property, which may be an attribute or an element; the empty string if there is none."""
    key = f"{{{namespace}}}{name}"
    for description in tree.iter(f"{{{RDF}}}Description"):
        if value := description.get(key) or (description.findtext(key) or "").strip():
            return value
    return ""

"""The published weights that define a metric: the exact files, checked by their sha256.

A value from other weights must not carry the metric's name.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from gan_tasks.datasets.errors import UserError
from gan_tasks.pretrained.files.download import DownloadError, OnProgress, fetch
from gan_tasks.pretrained.files.safe_load import read_state_dict


@dataclass(frozen=True)
class PublishedFile:
    """A file of weights on the web."""

    name: str
    """Its name in the cache folder."""
    url: str
    sha256: str
    """Digest of its content, in lower-case hex."""


# torchvision's and pytorch-fid's file names contain the first 8 digits of the sha256.
ALEXNET = PublishedFile(
    "alexnet-owt-7be5be79.pth",
    "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
)
VGG16 = PublishedFile(
    "vgg16-397923af.pth",
    "https://download.pytorch.org/models/vgg16-397923af.pth",
    "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
)
INCEPTION_2015 = PublishedFile(
    "pt_inception-2015-12-05-6726825d.pth",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
# The same files as in the package lpips 0.1.4.
LPIPS_ALEX = PublishedFile(
    "lpips-0.1-alex.pth",
    "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/alex.pth",
    "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
)
LPIPS_VGG = PublishedFile(
    "lpips-0.1-vgg.pth",
    "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/vgg.pth",
    "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
)


def published_weights(
    file: PublishedFile, metric: str, path: Path | None = None, on_progress: OnProgress | None = None
) -> dict[str, Tensor]:
    """Read the tensors of the published file from `path`, or else download the file once.

    metric: name of the metric, for error messages.
    on_progress: called with the progress of the download.

    Raises UserError if `path` is any other file, such as a conversion, or the file cannot be downloaded.
    """
    if path is None:
        try:
            path = fetch(file.url, sha256=file.sha256, name=file.name, on_progress=on_progress)
        except DownloadError as error:
            raise UserError(
                f"{metric} needs {file.name}, and it could not be downloaded: {error}. Connect to the network once "
                f"(it is kept), or download {file.url} elsewhere and give the path of that file"
            ) from error
    elif not is_published(path, file):
        raise UserError(
            f"{path} is not the file that {metric} is defined by: its sha256 should be {file.sha256}. "
            f"Download it from {file.url}; a figure from other weights must not be called {metric}"
        )
    return read_state_dict(path)


def is_published(path: Path, file: PublishedFile) -> bool:
    """Return whether `path` has exactly the content of the published file. Raises UserError if it cannot be read."""
    return sha256_of(path) == file.sha256


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in lower-case hex. Raises UserError if the file cannot be read."""
    try:
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read the weights {path}: {error.strerror}. Give the path of the file") from error

"""Download a published file once, verify its digest, and keep it in the user's cache."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from filelock import FileLock

from gan_tasks.datasets.errors import UserError

CHUNK_BYTES = 1 << 20

OnProgress = Callable[[int, int | None], None]
"""Called with the number of bytes so far and in total; the total is None if the server does not tell it."""


class DownloadError(UserError):
    """The network or the server failed. The bytes so far are kept, and the next attempt continues from there."""


def fetch(
    url: str,
    *,
    sha256: str,
    name: str,
    cache_dir: Path | None = None,
    on_progress: OnProgress | None = None,
    timeout_s: float = 30.0,
) -> Path:
    """Return the path `cache_dir / name`, after downloading the file from `url` if it is not there, and verifying it.

    sha256: digest of the content in lower-case hex, or its first 8 or more characters if no more is published.
    cache_dir: by default `default_cache_dir()`.
    on_progress: called after each chunk.
    timeout_s: longest silence of the server, in seconds. The whole download has no limit.

    If several processes fetch the same file, one downloads it and the others wait.

    Raises DownloadError if there is no network, the server refuses or the transfer breaks off; UserError if the
    digest differs (the file is then deleted), the cache cannot be written or `url` is no HTTP(S) address; ValueError
    if `sha256` is no such digest.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"cannot download from {url}: give an address that starts with https:// or http://")
    if not re.fullmatch("[0-9a-f]{8,64}", sha256):
        raise ValueError(f"sha256 is {sha256!r}: give the digest in hex, or at least its first 8 characters")
    folder = cache_dir or default_cache_dir()
    path, part = folder / name, folder / f"{name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{name}.lock"):
            if not (path.is_file() and _digest(path).startswith(sha256)):
                _download(url, part, on_progress, timeout_s)
                _verify(part, sha256, url)
                part.replace(path)
    except OSError as error:
        raise UserError(
            f"cannot keep {name} in {folder} ({error}): make room there, "
            "or set XDG_CACHE_HOME to a folder that can be written"
        ) from error
    return path


def default_cache_dir() -> Path:
    """Return $XDG_CACHE_HOME/gan-tasks/weights, by default ~/.cache/gan-tasks/weights."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "gan-tasks" / "weights"


def _download(url: str, part: Path, on_progress: OnProgress | None, timeout_s: float) -> None:
    """Complete the file `part`. Bytes that it already contains are kept; the digest is verified later."""
    present_bytes = part.stat().st_size if part.exists() else 0
    response = _request(url, present_bytes, timeout_s)
    if response is None:
        return
    with response, part.open("ab") as file:
        if response.status != 206:  # the server sends the whole file
            file.truncate(0)
            present_bytes = 0
        length = response.headers["Content-Length"]
        total_bytes = present_bytes + int(length) if length else None
        for chunk in _chunks(response, url):
            file.write(chunk)
            present_bytes += len(chunk)
            if on_progress:
                on_progress(present_bytes, total_bytes)
        file.flush()
        os.fsync(file.fileno())
    if total_bytes is not None and present_bytes < total_bytes:
        raise DownloadError(
            f"{url} broke off after {present_bytes} of {total_bytes} bytes: run this again to go on from there"
        )


def _request(url: str, start_byte: int, timeout_s: float) -> HTTPResponse | None:
    """Request the file from `start_byte` on; return None if there are no more bytes.

    A server without support for ranges sends the whole file. Raises DownloadError if the request fails.
    """
    headers = {"Range": f"bytes={start_byte}-"} if start_byte else {}
    try:
        response: HTTPResponse = urlopen(Request(url, headers=headers), timeout=timeout_s)
    except HTTPError as error:
        if error.code == 416 and start_byte:
            return None
        raise DownloadError(f"{url} answers {error.code} {error.reason}: check the address, or try later") from error
    except (OSError, HTTPException) as error:
        raise DownloadError(f"cannot reach {url} ({error}): connect to the network and run this again") from error
    return response


def _chunks(response: HTTPResponse, url: str) -> Iterator[bytes]:
    """Read the response in chunks. Raises DownloadError if the transfer breaks off."""
    try:
        while chunk := response.read(CHUNK_BYTES):
            yield chunk
    except (OSError, HTTPException) as error:
        raise DownloadError(f"{url} broke off ({error}): run this again to go on from there") from error


def _verify(part: Path, sha256: str, url: str) -> None:
    """Delete the file and raise UserError if its digest differs."""
    digest = _digest(part)
    if not digest.startswith(sha256):
        part.unlink()
        raise UserError(
            f"the file from {url} has the sha256 {digest}, expected {sha256}; it was deleted. "
            "Run this again; if the error stays, the file at that address has changed: do not use it"
        )


def _digest(path: Path) -> str:
    """Return the sha256 of a file in lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

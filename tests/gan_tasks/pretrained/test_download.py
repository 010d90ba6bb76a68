"""Downloads from a local server that can break off, ignore ranges and send wrong content."""

import hashlib
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gan_tasks.datasets.errors import UserError
from gan_tasks.pretrained.files.download import DownloadError, default_cache_dir, fetch

CONTENT = bytes(range(256)) * 12_000  # 3 MB: several chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `content` at /w.bin, and records the requested ranges."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.knows_ranges = True
        self.breaks_off_after: int | None = None
        self.ranges: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/w.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.ranges.append(asked)
        if self.path != "/w.bin":
            self.send_error(404)
            return
        content, start = self.server.content, 0
        if asked and self.server.knows_ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: self.server.breaks_off_after])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("sha256", [SHA256, SHA256[:8]])
def test_a_file_is_downloaded_once_and_then_needs_no_server(server, tmp_path, sha256):
    path = fetch(server.url, sha256=sha256, name="w.bin", cache_dir=tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "w.bin"
    assert path.read_bytes() == CONTENT
    assert fetch(server.url, sha256=sha256, name="w.bin", cache_dir=path.parent) == path
    assert len(server.ranges) == 1
    assert not list(path.parent.glob("*.part"))


def test_an_interrupted_download_is_resumed(server, tmp_path):
    server.breaks_off_after = 2_000_000
    with pytest.raises(DownloadError, match=rf"2000000 of {len(CONTENT)} bytes"):
        fetch(server.url, sha256=SHA256, name="w.bin", cache_dir=tmp_path)
    assert not (tmp_path / "w.bin").exists()
    server.breaks_off_after = None
    path = fetch(server.url, sha256=SHA256, name="w.bin", cache_dir=tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=2000000-"]


def test_a_server_without_ranges_sends_the_whole_file_again(server, tmp_path):
    (tmp_path / "w.bin.part").write_bytes(CONTENT[:1_000_000])
    server.knows_ranges = False
    assert fetch(server.url, sha256=SHA256, name="w.bin", cache_dir=tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000000-"]


def test_a_complete_part_is_used_without_a_download(server, tmp_path):
    (tmp_path / "w.bin.part").write_bytes(CONTENT)
    assert fetch(server.url, sha256=SHA256, name="w.bin", cache_dir=tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"", b"something else", CONTENT + b"too much"])
def test_a_wrong_digest_is_refused_and_the_next_attempt_starts_from_zero(server, tmp_path, part):
    (tmp_path / "w.bin.part").write_bytes(part)
    server.content = CONTENT if part else CONTENT[::-1]
    with pytest.raises(UserError, match=SHA256):
        fetch(server.url, sha256=SHA256, name="w.bin", cache_dir=tmp_path)
    assert not list(tmp_path.glob("w.bin*[!k]"))  # neither the file nor its part is left; the lock may stay
    server.content = CONTENT
    assert fetch(server.url, sha256=SHA256, name="w.bin", cache_dir=tmp_path).read_bytes() == CONTENT


def test_a_damaged_cached_file_is_downloaded_again(server, tmp_path):
    (tmp_path / "w.bin").write_bytes(b"damaged")
    assert fetch(server.url, sha256=SHA256, name="w.bin", cache_dir=tmp_path).read_bytes() == CONTENT


def test_refusing_and_unreachable_servers_raise_download_errors(server, tmp_path):
    with pytest.raises(DownloadError, match="404"):
        fetch(server.url + ".gone", sha256=SHA256, name="w.bin", cache_dir=tmp_path)
    server.server_close()  # closes the port
    with pytest.raises(DownloadError, match="connect to the network"):
        fetch(server.url, sha256=SHA256, name="w.bin", cache_dir=tmp_path)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://example.org/w.bin", "w.bin", "data:,hello"])
def test_other_addresses_than_http_are_refused(tmp_path, url):
    with pytest.raises(UserError, match="https://"):
        fetch(url, sha256=SHA256, name="w.bin", cache_dir=tmp_path)


@pytest.mark.parametrize("sha256", ["", "abcdef0", SHA256.upper(), SHA256 + "0", "not a digest"])
def test_invalid_digests_are_refused(tmp_path, sha256):
    with pytest.raises(ValueError, match="sha256"):
        fetch("https://example.org/w.bin", sha256=sha256, name="w.bin", cache_dir=tmp_path)


def test_an_unwritable_cache_is_named(server, tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"taken.*XDG_CACHE_HOME"):
        fetch(server.url, sha256=SHA256, name="w.bin", cache_dir=tmp_path / "taken")


def test_progress_starts_at_the_resumed_byte_and_ends_at_the_total(server, tmp_path):
    (tmp_path / "w.bin.part").write_bytes(CONTENT[:1_000_000])
    calls: list[tuple[int, int | None]] = []
    fetch(server.url, sha256=SHA256, name="w.bin", cache_dir=tmp_path, on_progress=lambda *done: calls.append(done))
    assert {total for _, total in calls} == {len(CONTENT)}
    counts = [done for done, _ in calls]
    assert counts == sorted(counts)
    assert counts[0] > 1_000_000
    assert counts[-1] == len(CONTENT)


def test_simultaneous_calls_download_once(server, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        tasks = [pool.submit(fetch, server.url, sha256=SHA256, name="w.bin", cache_dir=tmp_path) for _ in range(4)]
        paths = {task.result() for task in tasks}
    assert paths == {tmp_path / "w.bin"}
    assert len(server.ranges) == 1
    assert (tmp_path / "w.bin").read_bytes() == CONTENT


def test_cache_folder_follows_xdg_cache_home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "gan-tasks" / "weights"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == Path.home() / ".cache" / "gan-tasks" / "weights"


def test_no_torch_is_imported():
    code = "import sys, gan_tasks.pretrained.files.download; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Which addresses need a token, and which tokens are taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from gan_tasks.apps.web.guard.token import AccessToken, read_token
from gan_tasks.apps.web.server import choose_token, serve
from gan_tasks.datasets.errors import UserError


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST"])
def test_this_machine_alone_needs_no_token(host: str) -> None:
    assert choose_token(host, None, no_token=False) is None


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.20", "paint.example", "", "10.0.0.1", "127.0.0.1.example"]
)
def test_other_addresses_do_or_it_is_said_that_they_do_not(host: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--token-file FILE, .* or --no-token"):
        choose_token(host, None, no_token=False)
    assert choose_token(host, None, no_token=True) is None
    file = tmp_path / "token"
    file.write_text("0123456789abcdef\n")
    assert choose_token(host, file, no_token=False) == AccessToken("0123456789abcdef")
    with pytest.raises(UserError, match="contradict"):
        choose_token(host, file, no_token=True)


def test_a_server_for_everybody_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(UserError, match="--no-token"):
        serve([Path("missing.onnx")], host="0.0.0.0")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has 0 characters"),
        (b"0123456789abcde\n", "has 15 characters"),
        ("0123456789abcdefé".encode(), "expected one line"),
        (b"0123456789 abcdef", "without spaces"),
        (b"0123456789\nabcdef", "expected one line"),
        (b"\xff" * 20, "it is no text"),
        (None, "No such file"),
    ],
)
def test_a_token_that_cannot_be_used(content: bytes | None, words: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        read_token(file)
    assert "0123456789" not in str(error.value)


def test_a_token_is_not_printed() -> None:
    assert "secret" not in repr(AccessToken("a-secret-of-some-length"))

"""The token that a server asks for on addresses that other machines can connect to."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from gan_tasks.datasets.errors import UserError

if TYPE_CHECKING:
    from starlette.datastructures import Headers

SHORTEST, LONGEST = 16, 512
"""Characters of a token."""
COOKIE = "gan-tasks-access"
PARAMETER = "token"
"""Of the page's address, once: `/?token=…` sets the cookie."""
HOW = f"send it as `Authorization: Bearer TOKEN`, or open the page once with /?{PARAMETER}=TOKEN"


@dataclass(frozen=True, repr=False)
class AccessToken:
    """A secret that clients show with each request."""

    text: str

    @property
    def cookie(self) -> str:
        """What browsers keep in place of the token."""
        return hashlib.sha256(b"gan-tasks cookie " + self.text.encode()).hexdigest()

    def is_shown(self, headers: Headers) -> bool:
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and same(shown.strip(), self.text):
            return True
        try:
            kept = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return kept is not None and same(kept.value, self.cookie)

    def is_in(self, query: bytes) -> bool:
        """Whether the page's address holds it."""
        return same(parse_qs(query.decode("latin-1")).get(PARAMETER, [""])[0], self.text)


def same(shown: str, secret: str) -> bool:
    """Equality in a time that says nothing of the secret."""
    return hmac.compare_digest(shown.encode(), secret.encode())


def read_token(file: Path) -> AccessToken:
    """The token in a text file, without the space around it. Raises UserError for one that cannot be used."""
    try:
        with file.open(encoding="utf-8") as opened:
            text = opened.read(LONGEST + 2).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UserError(f"the token file {file} cannot be read ({reason})") from error
    if not SHORTEST <= len(text) <= LONGEST or not text.isascii() or not text.isprintable() or " " in text:
        raise UserError(
            f"the token in {file} has {len(text)} characters: expected one line of {SHORTEST} to {LONGEST} letters, "
            "digits and signs without spaces, such as "
            '`python -c "import secrets; print(secrets.token_hex(32))"` writes'
        )
    return AccessToken(text)

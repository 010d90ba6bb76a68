"""Which host a request is for, and which site it comes from."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.datastructures import Headers


@dataclass(frozen=True)
class Hosts:
    """The names of this server.

    names: lower-case host names, beside those of this machine.
    public_origin: scheme, host and port of the address that a proxy shows; empty without one.
    """

    names: frozenset[str]
    public_origin: str = ""

    @staticmethod
    def of(host: str, public_url: str) -> Hosts:
        """host: the address that the server listens on. public_url: see `server.serve`."""
        parts = urlsplit(public_url)
        names = {host.lower(), "localhost", socket.gethostname().lower(), socket.getfqdn().lower()}
        if parts.hostname:
            names.add(parts.hostname)
        return Hosts(frozenset(names), f"{parts.scheme}://{parts.netloc}".lower() if public_url else "")

    def has(self, name: str) -> bool:
        """Whether a request for this host is for the server.

        Pages of other sites may point their own name at this machine (DNS rebinding). They cannot do so with an
        address in numbers, which is taken as it is.
        """
        return name in self.names or is_address(name)

    def may_change(self, headers: Headers) -> bool:
        """Whether a request that changes something comes from our own page, or from no page at all."""
        origin = headers.get("origin")
        if origin is None:  # older browsers leave it out, but not the second header; programs send neither
            return headers.get("sec-fetch-site", "none") in ("same-origin", "none")
        scheme, _, netloc = origin.lower().partition("://")
        if scheme not in ("http", "https"):  # such as `null`
            return False
        return origin.lower() == self.public_origin or netloc == headers.get("host", "").lower()


def host_name(headers: Headers) -> str:
    """The host that a request is for, without port and brackets."""
    host = headers.get("host", "").lower()
    if host.startswith("["):  # IPv6
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on the host."""
    return host.lower() == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_this_machine(host: str) -> bool:
    """Whether `localhost` leads to what listens on the host."""
    return is_loopback(host) or (is_address(host) and ipaddress.ip_address(host).is_unspecified)

"""Addresses of stores and proxies: one rule for options, variables, profiles and secrets."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from multitalk_cli.errors import SetupError

_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~%-]+)*")
_SCHEMES = ("http", "https")
_LOCAL_HOST = re.compile(r"(localhost|[0-9.]+|\[.*\])(:[0-9]+)?(/|$)", re.IGNORECASE)
_NAMES_BUCKETS = (
    ".amazonaws.com", ".backblazeb2.com", ".digitaloceanspaces.com", ".linodeobjects.com",
    ".r2.cloudflarestorage.com", ".storage.googleapis.com", ".vultrobjects.com", ".wasabisys.com",
)  # fmt: skip
"""Stores whose consoles show addresses that begin with the bucket's name."""


class EndpointError(ValueError):
    """An address that is no endpoint of a store; the message never shows a password.

    proposed: the address with what it lacks, empty if unknown.
    """

    def __init__(self, message: str, proposed: str = "") -> None:
        super().__init__(message)
        self.proposed = proposed


def parse_endpoint(text: str) -> str:
    """`https://HOST[:PORT][/PREFIX]` without a slash at its end. Raises EndpointError."""
    address = text.strip()
    if "@" in address:
        raise EndpointError("must be http://HOST or https://HOST, without a user or password")
    scheme, mark, rest = address.partition("://")
    if not mark:
        kind = "http" if _LOCAL_HOST.match(address) else "https"
        proposed = f"{kind}://{address.rstrip('/')}"
        raise EndpointError(
            f"must begin with http:// or https://, not {address!r}",
            "" if _flaw(proposed) else proposed,
        )
    address = f"{scheme.lower()}://{rest.rstrip('/')}"
    flaw = _flaw(address)
    if flaw:
        raise EndpointError(f"must be http://HOST or https://HOST, not {address!r}: {flaw}")
    return address


def _flaw(address: str) -> str:
    """What keeps an address with a scheme from being an endpoint, in words; or empty."""
    try:
        parts = urlsplit(address)
        port, host = parts.port, parts.hostname
    except ValueError:
        return "the host or port is invalid"
    if parts.scheme not in _SCHEMES:
        return f"{parts.scheme}:// is not HTTP"
    if not host or port == 0 or parts.netloc.endswith(":"):
        return "the host or port is missing"
    if "?" in address or "#" in address:
        return "? and # are not part of an endpoint"
    if not _is_host(host):
        return "host names have no underscore" if "_" in host else "the host is invalid"
    return "" if _PREFIX.fullmatch(parts.path) else "the path is invalid"


def _is_host(host: str) -> bool:
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            return False
        return True
    labels = host.removesuffix(".").split(".")
    return len(host) <= 253 and all(_LABEL.fullmatch(label) for label in labels)


def without_bucket(endpoint: str, bucket: str) -> str | None:
    """The endpoint without the bucket's name, if it has that; None if it does not.

    Objects would be stored below a folder with the bucket's name.
    """
    parts = urlsplit(endpoint)
    if parts.path.endswith(f"/{bucket}"):
        return endpoint.removesuffix(f"/{bucket}")
    host = parts.hostname or ""
    if host.startswith(f"{bucket}.") and host.endswith(_NAMES_BUCKETS):
        return f"{parts.scheme}://{parts.netloc[len(bucket) + 1 :]}{parts.path}"
    return None


# Proxies


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """The proxy of an address. variable: that names it. shown: its address without a password.

    authority: USER:PASSWORD as in the address, empty without them.
    """

    variable: str
    shown: str
    scheme: str
    host: str
    port: int
    authority: str = field(repr=False)


_PROXY = re.compile(
    r"(?:(?:(\w+):)?//)?(?:[^/?#\s\ud800-\udfff]*@)?([A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\])(?::([0-9]{1,5}))?/?",
    re.IGNORECASE,
)
_SOCKS = ("socks4", "socks4a", "socks5", "socks5h")
_PORTS = {"http": 80, "https": 443} | dict.fromkeys(_SOCKS, 1080)
_MAX_PORT = 65535


def find_proxy(url: str, *, knows_socks: bool = False) -> Proxy | None:
    """The proxy that requests to an address go through, from HTTP_PROXY, HTTPS_PROXY and NO_PROXY.

    knows_socks: whether SOCKS proxies are used too, and ALL_PROXY is read. Raises SetupError
    E_PROXY for one that cannot be used.
    """
    from urllib.request import getproxies, proxy_bypass

    parts, proxies = urlsplit(url), getproxies()
    kind = parts.scheme if proxies.get(parts.scheme) or not knows_socks else "all"
    address = proxies.get(kind)
    if not address or proxy_bypass(parts.netloc):
        return None
    names = (f"{kind}_proxy", f"{kind.upper()}_PROXY")
    variable = next((name for name in names if os.environ.get(name)), "the system's proxy")
    match = _PROXY.fullmatch(address)
    scheme = "http" if match is None or match[1] is None else match[1].lower()
    port = _PORTS.get(scheme, 0) if match is None or match[3] is None else int(match[3])
    is_known = scheme in _SCHEMES or (knows_socks and scheme in _SOCKS)
    if match is None or not is_known or not 0 < port <= _MAX_PORT:
        raise SetupError(
            f"{variable} must be http://HOST:PORT, or that with USER:PASSWORD@ before HOST"
            f"{_proxy_flaw(address)}",
            code="E_PROXY",
            facts={"variable": variable},
        )
    return Proxy(
        variable=variable,
        shown=_without_user(address),
        scheme=scheme,
        host=match[2].strip("[]"),
        port=port,
        authority=address.rpartition("//")[2].rpartition("@")[0],
    )


def _proxy_flaw(address: str) -> str:
    """What is wrong with the address of a proxy, without its password."""
    scheme = re.match(r"([a-z][a-z0-9+.-]*)://", address, re.IGNORECASE)
    if scheme is not None and scheme[1].lower() not in _SCHEMES:
        return f", not {scheme[1]}://"
    if "@" in address:
        return "; in USER and PASSWORD, / is written %2F, # %23, ? %3F and @ %40"
    return f", not {address!r}"


def _without_user(address: str) -> str:
    scheme, mark, rest = address.rpartition("//")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"

"""Redirects of the hub and of other web servers: which are followed, and what they are sent."""

import http.client
import urllib.request
from typing import IO, Any
from urllib.parse import urlsplit


class UnsafeRedirectError(ConnectionError):
    """A redirect that is not followed; of the Hub, a firewall's, which may be gone later."""


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects; sends the token to the Hub itself only."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def http_error_302(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
    ) -> Any:
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except ConnectionError:
            fp.close()
            raise
        except ValueError as error:
            fp.close()
            # The server wrote it.
            where = server_of(req.full_url)
            raise ConnectionError(f"{where} redirects to no address: {error}") from error

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        where, scheme = server_of(self._endpoint), urlsplit(newurl).scheme
        if urlsplit(self._endpoint).scheme == "https" != scheme:
            raise UnsafeRedirectError(
                f"{where} redirects to {scheme}://{server_of(newurl)}, which is not encrypted"
            )
        if "@" in urlsplit(newurl).netloc:
            raise UnsafeRedirectError(f"{where} redirects to an address with a password")
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        token = req.unredirected_hdrs.get("Authorization")
        if new is not None and token is not None and origin_of(newurl) == origin_of(self._endpoint):
            new.add_unredirected_header("Authorization", token)
        return new


def origin_of(url: str) -> str:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def server_of(url: str) -> str:
    """The host of an address, to be shown: without a name and a password."""
    return urlsplit(url).netloc.rpartition("@")[2]

"""The Hugging Face Hub over HTTP: lists of files, and their content from any byte on."""

import http.client
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from multitalk_cli.contract.limits import find_flaw
from multitalk_cli.errors import (
    MultitalkError,
    SetupError,
    StorageError,
    TemporaryError,
    UsageError,
)
from multitalk_cli.errors.masking import hide
from multitalk_cli.reporting.formatting import human_duration
from multitalk_cli.storage.certificates import require_key_log
from multitalk_cli.storage.endpoint import find_proxy
from multitalk_cli.storage.redirects import (
    Redirects,
    UnsafeRedirectError,
    origin_of,
    server_of,
)
from multitalk_cli.storage.retry import SYSTEM_CLOCK, Clock, Retry, RetryPolicy
from multitalk_cli.storage.throttling import asked_pause_s

DEFAULT_ENDPOINT = "https://huggingface.co"

_ANSWER_BYTES = 64 * 1024**2  # more than any listing or file of settings
_ENDPOINT = re.compile(r"https?://([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?(/[\w./-]*)?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NEXT_PAGE = re.compile(r'<([^>]+)>;\s*rel="next"')
_BUSY = (408, 425, 429, 500, 502, 503, 504)
_ASKING = RetryPolicy(pauses_s=(0.5, 1, 2))
_FETCHING = RetryPolicy(pauses_s=(1, 2, 4, 8, 16, 30))
_IN_BROWSER = (
    "download the file in a browser, and pass it: "
    "multitalk download --to weights --lora FILE.safetensors"
)
# Errors of a broken, slow or absent network.
_NETWORK_ERRORS = (OSError, http.client.HTTPException)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubPolicy:
    """Time limits and retries of connections to the hub.

    stall_s: time without a byte after which the connection is closed. asking, fetching: retries of
    API calls and of files; every byte that arrives counts as a success. throttled_s: the longest
    pauses, all together, that a hub which limits the rate may ask for until bytes of a file arrive.
    piece_bytes: what is gathered from the network before it is handed on.
    """

    stall_s: float = 60.0
    throttled_s: float = 300.0
    piece_bytes: int = 1024**2
    asking: RetryPolicy = _ASKING
    fetching: RetryPolicy = _FETCHING


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file of a repository. git_sha1: git's hash of a file outside LFS."""

    path: str
    size_bytes: int
    sha256: str | None
    git_sha1: str


class Hub:
    """The Hub at one address, with one token and one policy of retries."""

    def __init__(
        self,
        endpoint: str,
        token: str | None = None,
        policy: HubPolicy | None = None,
        *,
        is_hub: bool = True,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """is_hub: False for another web server, which gets no token."""
        self.endpoint = endpoint.rstrip("/")
        self.on_pause: Callable[[int, int], None] = lambda _passed_s, _pause_s: None
        """Called every second of a pause that the hub asked for; raising from it ends the work."""
        self._token, self._is_hub, self._clock = token, is_hub, clock
        self._policy = HubPolicy() if policy is None else policy
        self._paused_s = 0
        self._opener = urllib.request.build_opener(Redirects(self.endpoint))

    @classmethod
    def of_surroundings(cls, policy: HubPolicy | None = None, endpoint: str = "") -> "Hub":
        """The hub that HF_ENDPOINT names, with HF_TOKEN or the token in the hub's own file.

        endpoint: in place of HF_ENDPOINT, unless it is empty.
        """
        from huggingface_hub import get_token

        return cls.with_token(get_token(), policy, endpoint)

    @classmethod
    def with_token(
        cls, token: str | None, policy: HubPolicy | None = None, endpoint: str = ""
    ) -> "Hub":
        """The hub that HF_ENDPOINT names, with this token and no other.

        Raises UsageError E_SETTING for the address, SetupError E_HUB_TOKEN for a token with spaces
        or line ends, which show neither.
        """
        named = endpoint.strip() or os.environ.get("HF_ENDPOINT", "").strip()
        endpoint = named or DEFAULT_ENDPOINT
        if not _ENDPOINT.fullmatch(endpoint):
            # Not shown: it may hold a password.
            raise UsageError(
                "HF_ENDPOINT must be http://HOST or https://HOST",
                code="E_SETTING",
                facts={"unset": ("HF_ENDPOINT",)},
            )
        find_proxy(endpoint)
        require_key_log()
        hide([] if token is None else [token])
        flaw = "" if token is None else find_flaw(token)
        if flaw:
            message = f"the Hugging Face token (HF_TOKEN) has {flaw}"
            raise SetupError(message, code="E_HUB_TOKEN")
        return cls(endpoint, token, policy)

    def other_server(self, endpoint: str) -> "Hub":
        """Another web server, met with the same patience and without the token."""
        server = Hub(endpoint, None, self._policy, is_hub=False, clock=self._clock)
        server.on_pause = self.on_pause
        return server

    def whoami(self) -> str:
        """The name of the token's account."""
        answer, _ = self._ask(f"{self.endpoint}/api/whoami-v2", "the token")
        name = answer.get("name") if isinstance(answer, dict) else None
        if not isinstance(name, str):
            raise _unexpected("the token", "no name")
        return name

    def check_access(self, repo: str) -> None:
        """Raises SetupError E_HUB_TOKEN where the token may not read a repository's files."""
        try:
            self._request(f"{self.endpoint}/api/models/{repo}/auth-check", repo)
        except StorageError as error:
            # A mirror may not have this call; it then has the repository, or reports its absence.
            if error.code != "E_HUB_MISSING":
                raise
            self._request(f"{self.endpoint}/api/models/{repo}", repo)

    def resolve(self, repo: str, revision: str) -> str:
        """The commit of a branch, reference or commit."""
        commit = self._about(repo, revision).get("sha")
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
            raise _unexpected(f"{repo} at {revision}", f"the commit {commit!r}")
        return commit

    def licence(self, repo: str, revision: str) -> str:
        """The licence on the repository's page; empty if it has none."""
        model_card = self._about(repo, revision).get("cardData")
        licence = model_card.get("license") if isinstance(model_card, dict) else None
        return licence if isinstance(licence, str) else ""

    def _about(self, repo: str, revision: str) -> Mapping[str, Any]:
        url = f"{self.endpoint}/api/models/{repo}/revision/{quote(revision, safe='')}"
        answer, _ = self._ask(url, f"{repo} at {revision}")
        return answer if isinstance(answer, dict) else {}

    def files(self, repo: str, commit: str) -> dict[str, HubFile]:
        """The files of a commit by their paths."""
        found: dict[str, HubFile] = {}
        url: str | None = f"{self.endpoint}/api/models/{repo}/tree/{commit}?recursive=true"
        while url is not None:
            rows, links = self._ask(url, f"{repo} at {commit}")
            if not isinstance(rows, list):
                raise _unexpected(repo, "no list of files")
            files = [_to_file(repo, row) for row in rows if _is_file(row)]
            found |= {file.path: file for file in files}
            url = self._next_page(url, links)
        return found

    def _next_page(self, url: str, links: str) -> str | None:
        match = _NEXT_PAGE.search(links)
        if match is None:
            return None
        following: str = urljoin(url, match[1])
        if origin_of(following) != origin_of(self.endpoint):
            raise _unexpected(self.endpoint, f"a list that continues at {origin_of(following)}")
        return following

    def read(self, repo: str, commit: str, file: HubFile) -> bytes:
        """The content of a small file."""
        if file.size_bytes > _ANSWER_BYTES:
            raise _unexpected(repo, f"{file.path} with {file.size_bytes} bytes, too many")
        return b"".join(self.pieces(repo, commit, file.path, 0, file.size_bytes))

    def pieces(self, repo: str, commit: str, path: str, start: int, end: int) -> Iterator[bytes]:
        """Yields the bytes [start, end) of a file in order, over as many connections as it takes.

        Plain ranges over HTTP: the hub's accelerated transfers cannot resume where another process
        stopped. Raises TemporaryError E_HUB_NETWORK when no retry helped.
        """
        url = f"{self.endpoint}/{repo}/resolve/{commit}/{quote(path)}"
        return self.pieces_at(url, f"{repo}/{path}", start, end)

    def file_at(self, url: str, what: str) -> tuple[int, str]:
        """The size of the file at an address, and the name that its server gives it, which may be
        anything. Raises StorageError E_HUB if the server omits the size."""
        retry = self._policy.asking.start(self._clock)
        while True:
            try:
                with self._open(url, {"Range": "bytes=0-0"}) as answer:
                    # The name in the header of a download, else the end of the last redirect.
                    name = answer.headers.get_filename() or urlsplit(answer.url).path
                    return _told_size(answer, what), unquote(name)
            except _NETWORK_ERRORS as error:
                self._wait(retry, error, what)

    def pieces_at(self, url: str, what: str, start: int, end: int) -> Iterator[bytes]:
        """The same as `pieces` for an address."""
        position, retry = start, self._policy.fetching.start(self._clock)
        while position < end:
            try:
                for piece in self._gathered(self._connection(url, position, end)):
                    position += len(piece)
                    retry.succeed()
                    self._paused_s = 0
                    yield piece
                if position < end:
                    raise ConnectionError(f"{end - position} bytes are missing")
            except _NETWORK_ERRORS as error:
                self._wait(retry, error, what)

    def _gathered(self, records: Iterator[bytes]) -> Iterator[bytes]:
        """Joins what arrives into pieces worth a write; a connection that breaks loses nothing.

        A read of an encrypted connection gives one record, 16 KiB at most.
        """
        held = bytearray()
        try:
            for record in records:
                held += record
                if len(held) >= self._policy.piece_bytes:
                    yield bytes(held)
                    held.clear()
        except _NETWORK_ERRORS:
            if held:
                yield bytes(held)
            raise
        if held:
            yield bytes(held)

    def _connection(self, url: str, start: int, end: int) -> Iterator[bytes]:
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._open(url, headers) as answer:
            # A server without ranges sends the file from its beginning.
            position = start if answer.status == http.client.PARTIAL_CONTENT else 0
            _require_range(answer, position)
            _require_length(answer, end - position)
            while position < end and (piece := answer.read1(self._policy.piece_bytes)):
                new = piece[max(0, start - position) : end - position]
                position += len(piece)
                if new:
                    yield new

    def _ask(self, url: str, what: str) -> tuple[Any, str]:
        """The JSON of the answer, and its Link header."""
        body, links = self._request(url, what)
        try:
            return json.loads(body), links
        except (ValueError, RecursionError) as error:
            raise _unexpected(what, "no JSON") from error

    def _request(self, url: str, what: str) -> tuple[bytes, str]:
        retry = self._policy.asking.start(self._clock)
        while True:
            try:
                with self._open(url, {}) as answer:
                    return answer.read(_ANSWER_BYTES), answer.headers.get("Link", "")
            except _NETWORK_ERRORS as error:
                self._wait(retry, error, what)

    def _wait(self, retry: Retry, error: Exception, what: str) -> None:
        """Waits before the next attempt. Raises after the last one, or for a final error."""
        final = _final_error(error, what, self.endpoint, is_hub=self._is_hub)
        if final is not None:
            raise final from error
        pause_s = None
        if isinstance(error, urllib.error.HTTPError):
            pause_s = asked_pause_s(error.code, error.headers)
        if pause_s is not None:
            self._pause(pause_s, error, what)
        elif not retry.wait():
            proxy = find_proxy(self.endpoint)
            through = "" if proxy is None else f" through the proxy {proxy.shown}"
            raise TemporaryError(
                f"{what} cannot be fetched from {self.endpoint}{through}: {_reason(error)}",
                code="E_HUB_NETWORK",
            ) from error

    def _pause(self, pause_s: int, error: Exception, what: str) -> None:
        """Waits as long as the hub asks for. Raises TemporaryError where that is too long."""
        if self._paused_s + pause_s > self._policy.throttled_s:
            waited = f" after {human_duration(self._paused_s)} of waiting" if self._paused_s else ""
            is_anonymous = self._is_hub and not self._token
            raise TemporaryError(
                f"{what} cannot be fetched{waited}: {self.endpoint} limits the rate of requests"
                f"{' without a token' if is_anonymous else ''}, "
                f"the next one is allowed in {human_duration(pause_s)}",
                code="E_HUB_THROTTLED" if is_anonymous else "E_HUB_NETWORK",
            ) from error
        for passed_s in range(pause_s):
            self.on_pause(passed_s, pause_s)
            self._clock.sleep(1)
        self._paused_s += pause_s

    def _open(self, url: str, headers: Mapping[str, str]) -> Any:
        request = urllib.request.Request(url, headers={"User-Agent": "multitalk", **headers})
        if self._token:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        return self._opener.open(request, timeout=self._policy.stall_s)


def _told_size(answer: Any, what: str) -> int:
    told = answer.headers.get("Content-Length", "")
    if answer.status == http.client.PARTIAL_CONTENT:
        told = answer.headers.get("Content-Range", "").rpartition("/")[2]
    if not told.isdecimal():
        raise _unexpected(what, "no size")
    return int(told)


def _require_range(answer: Any, start: int) -> None:
    """Raises ConnectionError for other bytes than those requested."""
    if answer.status != http.client.PARTIAL_CONTENT:
        return
    place = answer.headers.get("Content-Range", "")
    if not place.startswith(f"bytes {start}-"):
        raise ConnectionError(f"asked for the bytes from {start} on, got {place!r}")


def _require_length(answer: Any, size_bytes: int) -> None:
    """Raises ConnectionError for fewer bytes than needed: the page of a proxy, not the file."""
    told = answer.headers.get("Content-Length", "")
    if told.isdecimal() and int(told) < size_bytes:
        raise ConnectionError(
            f"{server_of(answer.url)} sends {told} bytes where {size_bytes} are missing"
        )


def _final_error(
    error: Exception, what: str, endpoint: str, *, is_hub: bool
) -> MultitalkError | None:
    """The error that no further attempt avoids, or None."""
    if isinstance(error, UnsafeRedirectError) and not is_hub:
        return StorageError(f"{what} is not fetched: {error}", code="E_HUB", hint=_IN_BROWSER)
    if not isinstance(error, urllib.error.HTTPError):
        return None
    error.close()
    # Addresses of the storage behind the Hub expire; the Hub returns a new one.
    if error.code in _BUSY or origin_of(error.url) != origin_of(endpoint):
        return None
    if is_hub and error.code in (401, 403):
        return _explain_denied(error, what)
    if not is_hub and error.code in (401, 403, 404, 410):
        return _explain_other(error.code, what)
    if error.code == 404:
        return StorageError(f"{endpoint} has no {what}", code="E_HUB_MISSING")
    return StorageError(
        f"unexpected response of {endpoint} for {what}: status {error.code}", code="E_HUB"
    )


def _explain_other(status: int, what: str) -> StorageError:
    """The error for a file that another web server does not send."""
    if status in (401, 403):
        return StorageError(
            f"{what} needs a login (status {status})",
            code="E_HUB",
            hint=_IN_BROWSER,
        )
    return StorageError(
        f"{what} does not exist (status {status})",
        code="E_HUB_MISSING",
        hint="open the address in a browser, and pass the one that the file has now",
    )


def _explain_denied(error: urllib.error.HTTPError, what: str) -> MultitalkError:
    """The error for a refusal, whose reason the Hub gives in two headers; mirrors may not.

    It answers so for a repository that is absent, too, and for a public one with an invalid token.
    """
    reason, said = (error.headers.get(f"X-Error-{name}", "") for name in ("Code", "Message"))
    if "invalid credentials" in said.lower():
        message = f"the Hub rejects the token (HF_TOKEN): invalid or expired, asked for {what}"
        return SetupError(message, code="E_HUB_TOKEN")
    if reason == "RepoNotFound":
        return StorageError(
            f"the Hub has no {what}: renamed, removed or private", code="E_HUB_MISSING"
        )
    if "disabled" in said.lower():
        return StorageError(f"the Hub has disabled access to {what}", code="E_HUB_MISSING")
    cause = "gated" if reason == "GatedRepo" else "gated, or HF_TOKEN is invalid"
    return SetupError(
        f"the Hub denies access to {what} (status {error.code}): {cause}", code="E_HUB_TOKEN"
    )


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        place = server_of(error.url)
        # Only http and https are followed.
        return f"status {error.code} of {place}" if place else "a redirect to no web address"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return "no data received" if isinstance(error, TimeoutError) else str(error)


def _unexpected(what: str, seen: str) -> StorageError:
    return StorageError(f"unexpected response of the Hub for {what}: it has {seen}", code="E_HUB")


def _is_file(row: object) -> bool:
    return isinstance(row, dict) and row.get("type") == "file"


def _to_file(repo: str, row: Mapping[str, Any]) -> HubFile:
    """Reads a row of the list of files. Raises StorageError E_HUB where it is malformed."""
    large = row.get("lfs")
    sha256 = large.get("oid") if isinstance(large, dict) else None
    size = large.get("size") if isinstance(large, dict) else row.get("size")
    path, sha1 = row.get("path"), row.get("oid")
    if not (isinstance(path, str) and isinstance(sha1, str) and isinstance(size, int)):
        raise _unexpected(repo, f"the row {row!r}")
    if size < 0 or (large is not None and not re.fullmatch(r"[0-9a-f]{64}", str(sha256))):
        raise _unexpected(repo, f"the row {row!r}")
    return HubFile(path=path, size_bytes=size, sha256=sha256, git_sha1=sha1)

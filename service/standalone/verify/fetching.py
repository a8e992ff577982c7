"""Fetches a served log over one kept connection and waits when the server asks for it. Owns that connection."""

from __future__ import annotations

import http.client
import stat
import time
import urllib.request
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from .findings import INCOMPLETE, USAGE, Fault, Report, require

if TYPE_CHECKING:
    from email.message import Message

TIMEOUT = 30.0
LARGEST_ANSWER = 17 << 20
OK, NOT_FOUND, TOO_MANY, NOT_NOW = 200, 404, 429, 503
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# How long to retry one request, while the server sends Retry-After.
MAX_WAIT = 180.0
SHORTEST_PAUSE = 0.05
QUOTED = 80


class Answer(NamedTuple):
    """A response: its status and its bytes."""

    status: int
    data: bytes


class Fetcher:
    """Fetches paths below `url`. Raises Fault: usage for an invalid URL, incomplete when the server does not answer."""

    def __init__(self, url: str, report: Report) -> None:
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            parts, self._host = urlsplit(""), ""
        # Reports name the URL.
        require("@" not in url, "the URL must have no user and no password", USAGE)
        require(parts.scheme in {"http", "https"} and self._host, f"not an http or https URL: {url}", USAGE)
        self.url = url.rstrip("/")
        self._scheme, self._path = parts.scheme, parts.path.rstrip("/")
        self._report = report
        self._connection: http.client.HTTPConnection | None = None
        self._prefix = ""

    def get(self, path: str, *, token: str = "") -> Answer:
        """GET a path. Responses 429 and 503 with Retry-After are retried for up to MAX_WAIT seconds."""
        waited = 0.0
        while True:
            answer, headers = self._request(path, token)
            if answer.status not in {TOO_MANY, NOT_NOW}:
                return answer
            pause = _parse_retry_after(headers.get("Retry-After"))
            if pause is None or waited + pause > MAX_WAIT:
                return answer
            self._report.say(f"{self.url}/{path} answers {answer.status}: retrying in {pause:.0f} s")
            time.sleep(pause)
            waited += pause

    def refusal(self, path: str, answer: Answer) -> Fault:
        """The fault for a response with an unexpected status."""
        return Fault(f"{self.url}/{path} answers {answer.status}: {quote(answer.data)}", INCOMPLETE)

    def _request(self, path: str, token: str) -> tuple[Answer, Message]:
        """One request and response; a kept connection that the server has closed is reopened."""
        kept = self._connection is not None
        try:
            try:
                return self._exchange(path, token)
            except (http.client.HTTPException, ConnectionError):
                if not kept:
                    raise
                return self._exchange(path, token)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Fault(f"{self.url}/{path} does not answer: {type(error).__name__}: {error}", INCOMPLETE) from None

    def _exchange(self, path: str, token: str) -> tuple[Answer, Message]:
        connection = self._connection = self._connection or self._connect()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            connection.request("GET", f"{self._prefix}{self._path}/{path}", headers=headers)
            answer = connection.getresponse()
            data = answer.read(LARGEST_ANSWER + 1)
        except BaseException:
            self.close()
            raise
        if len(data) > LARGEST_ANSWER or answer.will_close:
            self.close()
        require(len(data) <= LARGEST_ANSWER, f"{self.url}/{path} answers more than {LARGEST_ANSWER} bytes", INCOMPLETE)
        return Answer(answer.status, data), answer.headers

    def _connect(self) -> http.client.HTTPConnection:
        """Connect to the host, or to the proxy that the environment names for other machines."""
        kind = http.client.HTTPSConnection if self._scheme == "https" else http.client.HTTPConnection
        direct = self._host in LOOPBACK or urllib.request.proxy_bypass(self._host)
        proxy = None if direct else urllib.request.getproxies().get(self._scheme)
        if not proxy:
            return kind(self._host, self._port, timeout=TIMEOUT)
        through = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        connection = kind(through.hostname or "", through.port, timeout=TIMEOUT)
        if self._scheme == "https":
            connection.set_tunnel(self._host, self._port)
        else:
            self._prefix = f"http://{urlsplit(self.url).netloc}"
        return connection

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Folder:
    """Reads the paths of an archived log from a directory, as Fetcher does from a server."""

    def __init__(self, path: str) -> None:
        self.url = path.rstrip("/")

    def get(self, path: str, *, token: str = "") -> Answer:  # noqa: ARG002 — as Fetcher.get
        """The content of a file."""
        place = Path(self.url) / path
        try:
            # Opening a pipe would wait for a writer.
            require(stat.S_ISREG(place.stat().st_mode), f"{place} is not a regular file", USAGE)
            with place.open("rb") as file:
                return Answer(OK, file.read(LARGEST_ANSWER))
        except (FileNotFoundError, NotADirectoryError):
            return Answer(NOT_FOUND, b"")

    def refusal(self, path: str, answer: Answer) -> Fault:  # noqa: ARG002 — as Fetcher.refusal
        """The fault for a file that is missing."""
        return Fault(f"there is no {self.url}/{path}", INCOMPLETE)

    def close(self) -> None:
        """Nothing is open."""


def open_log(place: str, report: Report) -> Fetcher | Folder:
    """A log at a URL, or in a directory."""
    return Fetcher(place, report) if "://" in place else Folder(place)


def quote(data: bytes) -> str:
    """The beginning of a response, for people."""
    return repr(data[:QUOTED].decode(errors="replace")) if data else "nothing"


def _parse_retry_after(header: str | None) -> float | None:
    """The seconds of a Retry-After header; None without a valid one."""
    if header is None:
        return None
    try:
        seconds = float(header) if header.strip().isdigit() else parsedate_to_datetime(header).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return max(seconds, SHORTEST_PAUSE)

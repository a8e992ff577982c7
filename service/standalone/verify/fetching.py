"""What a log serves, over one kept connection, with patience where a server asks for it. Owns that connection."""

from __future__ import annotations

import http.client
import time
import urllib.request
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from .findings import INCOMPLETE, USAGE, Fault, Report, need

if TYPE_CHECKING:
    from email.message import Message

TIMEOUT = 30.0
LARGEST_ANSWER = 17 << 20
OK, NOT_FOUND, TOO_MANY, NOT_NOW = 200, 404, 429, 503
# How long one answer is waited for, when the server says when to come again.
PATIENCE = 180.0
SHORTEST_PAUSE = 0.05
QUOTED = 80


class Answer(NamedTuple):
    """What came: the status, and the bytes."""

    status: int
    data: bytes


class Fetcher:
    """Everything below `url`. Raises Fault: usage for a URL that is none, incomplete when nobody answers."""

    def __init__(self, url: str, report: Report) -> None:
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            parts, self._host = urlsplit(""), ""
        need(parts.scheme in {"http", "https"} and self._host, f"this is not an http or https URL: {url}", USAGE)
        self.url = url.rstrip("/")
        self._scheme, self._path = parts.scheme, parts.path.rstrip("/")
        self._report = report
        self._connection: http.client.HTTPConnection | None = None
        self._prefix = ""

    def get(self, path: str, *, token: str = "") -> Answer:
        """What is served there. What is refused for a while is asked again, for as long as `PATIENCE`."""
        waited = 0.0
        while True:
            answer, headers = self._asked(path, token)
            if answer.status not in {TOO_MANY, NOT_NOW}:
                return answer
            pause = _pause(headers.get("Retry-After"))
            if pause is None or waited + pause > PATIENCE:
                return answer
            self._report.sign(f"{self.url}/{path} answers {answer.status}: asking again in {pause:.0f} s")
            time.sleep(pause)
            waited += pause

    def refusal(self, path: str, answer: Answer) -> Fault:
        """What to say of an answer that is of no use."""
        return Fault(f"{self.url}/{path} answers {answer.status}: {quoted(answer.data)}", INCOMPLETE)

    def _asked(self, path: str, token: str) -> tuple[Answer, Message]:
        """One exchange; a kept connection that the server has closed meanwhile is opened anew."""
        kept = self._connection is not None
        try:
            try:
                return self._exchanged(path, token)
            except (http.client.HTTPException, ConnectionError):
                if not kept:
                    raise
                return self._exchanged(path, token)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Fault(f"{self.url}/{path} does not answer: {type(error).__name__}: {error}", INCOMPLETE) from None

    def _exchanged(self, path: str, token: str) -> tuple[Answer, Message]:
        connection = self._connection = self._connection or self._connected()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            connection.request("GET", f"{self._prefix}{self._path}/{path}", headers=headers)
            answer = connection.getresponse()
            data = answer.read(LARGEST_ANSWER + 1)
        except BaseException:
            self._close()
            raise
        if len(data) > LARGEST_ANSWER or answer.will_close:
            self._close()
        need(len(data) <= LARGEST_ANSWER, f"{self.url}/{path} answers more than {LARGEST_ANSWER} bytes", INCOMPLETE)
        return Answer(answer.status, data), answer.headers

    def _connected(self) -> http.client.HTTPConnection:
        """Straight to the host, or through the proxy that the environment names."""
        kind = http.client.HTTPSConnection if self._scheme == "https" else http.client.HTTPConnection
        proxy = None if urllib.request.proxy_bypass(self._host) else urllib.request.getproxies().get(self._scheme)
        if not proxy:
            return kind(self._host, self._port, timeout=TIMEOUT)
        through = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        connection = kind(through.hostname or "", through.port, timeout=TIMEOUT)
        if self._scheme == "https":
            connection.set_tunnel(self._host, self._port)
        else:
            self._prefix = f"http://{urlsplit(self.url).netloc}"
        return connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def quoted(data: bytes) -> str:
    """The beginning of what came, for people."""
    return repr(data[:QUOTED].decode(errors="replace")) if data else "nothing"


def _pause(said: str | None) -> float | None:
    """The seconds that a Retry-After means; None for none."""
    if said is None:
        return None
    try:
        seconds = float(said) if said.strip().isdigit() else parsedate_to_datetime(said).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return max(seconds, SHORTEST_PAUSE)

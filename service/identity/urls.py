"""Normalizes URLs for comparison (RFC 3986 sections 6.2.2 and 6.2.3, as RFC 9449 section 4.3 requires). Pure."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ESCAPE = re.compile(r"%(..?)?")
_HEX = re.compile(r"[0-9A-Fa-f]{2}")


def normalize_url(url: str) -> str:
    """The normal form of an http or https URL, without query and fragment. Raises ValueError for anything else."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ValueError("not a URL")
    parts = urlsplit(url)
    scheme, host, port = parts.scheme, parts.hostname, parts.port
    if scheme not in _DEFAULT_PORTS or not host or "@" in parts.netloc:
        raise ValueError("not an http URL with only a host")
    shown = f"[{host}]" if ":" in host else host
    place = shown if port in (None, _DEFAULT_PORTS[scheme]) else f"{shown}:{port}"
    return f"{scheme}://{place}{_remove_dots(_ESCAPE.sub(_normalize_escape, parts.path or '/'))}"


def _normalize_escape(escape: re.Match[str]) -> str:
    """The plain letter if it needs no escape, else the escape in capitals."""
    digits = escape[1] or ""
    if not _HEX.fullmatch(digits):
        raise ValueError("an invalid escape")
    letter = chr(int(digits, 16))
    return letter if letter in _UNRESERVED else f"%{digits.upper()}"


def _remove_dots(path: str) -> str:
    """Resolve `.` and `..` (RFC 3986 section 5.2.4)."""
    kept: list[str] = []
    steps = path.split("/")[1:]
    for step in steps:
        if step == "..":
            del kept[-1:]
        elif step != ".":
            kept.append(step)
    if steps[-1] in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)

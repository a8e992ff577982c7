"""Pages: encrypted keyset cursors. A cursor cannot be forged, read, or used for another listing.

Pure: owns only the key that it was given, the same on every replica. A cursor is bound to its listing and filters. It
stands in URLs, which proxies log, and its sort key may be a person's name.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from service.errors import InvalidField
from service.places import FieldError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_CURSOR_CHARS = 600
DEFAULT_LIMIT, MAX_LIMIT = 50, 200
# An internal header: `RequestFrame` replaces it by a Link header.
NEXT_CURSOR = "Next-Cursor"


def next_link(path: str, query: bytes, cursor: str) -> str:
    """The Link header (RFC 8288) to the page at `cursor`, with the same path and parameters."""
    kept = [pair for pair in parse_qsl(query.decode("latin-1"), keep_blank_values=True) if pair[0] != "cursor"]
    return f'<{quote(path)}?{urlencode([*kept, ("cursor", cursor)])}>; rel="next"'


class Cursors:
    """Makes and reads cursors, by AES-SIV (RFC 5297). `key`: 32 bytes or more of secret text."""

    def __init__(self, key: str) -> None:
        self._cipher = AESSIV(hashlib.sha512(key.encode()).digest())

    def make(self, listing: str, filters: Mapping[str, object], after: Sequence[str | int | None]) -> str:
        """A cursor that continues `listing` with these filters after the row with the sort key `after`."""
        payload = msgspec.json.encode(after)
        sealed = self._cipher.encrypt(payload, [_bind(listing, filters)])
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def read(self, listing: str, filters: Mapping[str, object], cursor: str | None) -> list[Any] | None:
        """The sort key in a cursor; None without a cursor. Raises InvalidField for a cursor that was not made for this
        listing and these filters."""
        if cursor is None:
            return None
        wrong = InvalidField(FieldError("query.cursor", "is not a cursor of this list with these filters"))
        if len(cursor) > MAX_CURSOR_CHARS or not cursor.isascii():
            raise wrong
        try:
            sealed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            after: list[Any] = json.loads(self._cipher.decrypt(sealed, [_bind(listing, filters)]))
        except (ValueError, InvalidTag):
            raise wrong from None
        return after


def _bind(listing: str, filters: Mapping[str, object]) -> bytes:
    """What a cursor belongs to."""
    given = {name: str(value) for name, value in filters.items() if value is not None}
    return json.dumps([listing, given], sort_keys=True).encode()

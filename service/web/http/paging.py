"""Pages: signed keyset cursors. Every page costs the same, and a cursor cannot be forged or used for another listing.

Pure: owns only the key that it was given, the same on every replica. A cursor is bound to its listing and filters.
"""

from __future__ import annotations

import base64
import hmac
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

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
    """Makes and reads cursors. `key`: 32 bytes or more of secret text."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def make(self, listing: str, filters: Mapping[str, object], after: Sequence[str | int | None]) -> str:
        """A cursor that continues `listing` with these filters after the row with the sort key `after`."""
        payload = json.dumps(list(after), separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._tag(listing, filters, payload) + payload).rstrip(b"=").decode()

    def read(self, listing: str, filters: Mapping[str, object], cursor: str | None) -> list[Any] | None:
        """The sort key in a cursor; None without a cursor. Raises InvalidField for a cursor that was not made for this
        listing and these filters."""
        if cursor is None:
            return None
        wrong = InvalidField(FieldError("query.cursor", "is not a cursor of this list with these filters"))
        if len(cursor) > MAX_CURSOR_CHARS or not cursor.isascii():
            raise wrong
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except ValueError:
            raise wrong from None
        tag, payload = raw[:16], raw[16:]
        if not hmac.compare_digest(tag, self._tag(listing, filters, payload)):
            raise wrong
        after: list[Any] = json.loads(payload)
        return after

    def _tag(self, listing: str, filters: Mapping[str, object], payload: bytes) -> bytes:
        bound = json.dumps([listing, {k: str(v) for k, v in filters.items() if v is not None}], sort_keys=True).encode()
        return hmac.digest(self._key, len(bound).to_bytes(4, "big") + bound + payload, "sha256")[:16]
